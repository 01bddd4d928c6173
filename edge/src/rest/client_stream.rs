//! A stream of messages up, one down: JSON values or the bytes of an upload.

use pingora::protocols::http::ServerSession as Session;

use super::exchange::Exchange;
use super::{Target, unary};
use crate::error::Error;
use crate::request::{Call, Ended, Record};

pub(super) async fn serve(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let mut exchange = Exchange::begin(session, call, target, record).await?;
    let message = exchange.next(session).await?;
    if message.is_some() && exchange.next(session).await?.is_some() {
        return Err(Error::UpstreamMessage { problem: "two messages in a unary answer".to_owned() }.into());
    }
    record.upstream_ends();
    unary::write(session, call, target, record, unary::Reply::new(exchange.answer, message)).await
}
