//! OPTIONS of a path that has no method of its own for it: what else can be done there (RFC 9110 section 9.3.7). It tells no more
//! than a refused verb does, so it asks for no more: nobody is authenticated and no service is called.

use bytes::Bytes;
use chassis::drain::Drain;
use http::header::{ALLOW, CACHE_CONTROL, HeaderName, HeaderValue};
use pingora::protocols::http::ServerSession as Session;
use tonic::Code;

use super::Context;
use crate::request::{Ended, finish_connection, write_whole};

/// Answers with the verbs of the path.
pub(super) async fn answer(
    session: &mut Session,
    context: &mut Context,
    drain: &Drain,
    allow: &str,
) -> Result<(), Ended> {
    finish_connection(session, drain);
    context.record.ended(Code::Ok);
    let mut header = context.record.extras.begin(204)?;
    header.insert_header(ALLOW, allow)?;
    // What a path answers to changes with a rollout.
    header.insert_header(CACHE_CONTROL, "no-store")?;
    Ok(write_whole(session, Box::new(header), Bytes::new()).await?)
}

/// Answers the preflight of a page that may call: an OPTIONS of a browser's own, before what the page asked it to send.
pub(super) async fn answer_preflight(
    session: &mut Session,
    context: &mut Context,
    drain: &Drain,
    fields: Vec<(HeaderName, HeaderValue)>,
) -> Result<(), Ended> {
    finish_connection(session, drain);
    context.record.ended(Code::Ok);
    let mut header = context.record.extras.begin(204)?;
    for (name, value) in fields {
        header.insert_header(name, value)?;
    }
    // Browsers keep it as long as it says itself; nobody else has a use for it.
    header.insert_header(CACHE_CONTROL, "no-store")?;
    Ok(write_whole(session, Box::new(header), Bytes::new()).await?)
}
