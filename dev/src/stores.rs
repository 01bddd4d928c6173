//! The four stores, each with access control on, and TLS on in all but the DynamoDB engine, which has none and is bound to
//! loopback. One module a store: what it needs before its first start, how it is started, how it is known to be ready.

pub(crate) mod dynamo;
pub(crate) mod mongo;
pub(crate) mod postgres;
pub(crate) mod redis;
