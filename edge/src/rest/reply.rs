//! Answers on the REST side: the headers of a success, and an upstream's failure in the shape that the client prefers.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method as Verb, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Session;
use tonic::Code;

use super::Target;
use super::answer::Status;
use crate::accept::error_shape;
use crate::coding::Coding;
use crate::headers;
use crate::rate;
use crate::request::{Call, Record, write_whole};
use crate::transcode::{http_status_of, retry_after};

const NO_STORE: &str = "no-store";

/// The header of a success, without its length: what every answer carries, and what the upstream may add.
pub(super) fn success(
    status: u16,
    content_type: &str,
    upstream: &HeaderMap,
    call: &Call,
) -> pingora::Result<Box<ResponseHeader>> {
    let mut header = call.extras.begin(status)?;
    header.insert_header(CONTENT_TYPE, content_type)?;
    // An answer to one principal is no business of a cache on the way.
    header.insert_header(CACHE_CONTROL, NO_STORE)?;
    for (name, value) in &headers::downstream_rest(upstream, &call.snapshot.response_headers) {
        if name == CACHE_CONTROL {
            // Let through by the configuration, so the service's to say.
            header.insert_header(name, value)?;
        } else {
            header.append_header(name, value)?;
        }
    }
    put_standing(&mut header, call)?;
    Ok(Box::new(header))
}

/// The header of bytes that are passed on as they are, of whatever media type their author chose. They come from the origin of
/// the web application, so a browser that opens them must run nothing of theirs.
pub(super) fn bytes(
    status: u16,
    content_type: &str,
    upstream: &HeaderMap,
    call: &Call,
) -> pingora::Result<Box<ResponseHeader>> {
    let content_type = if content_type.is_empty() { "application/octet-stream" } else { content_type };
    let mut header = success(status, content_type, upstream, call)?;
    header.insert_header(CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox; frame-ancestors 'none'")?;
    // Followed as a link, they are saved and not shown.
    header.insert_header(CONTENT_DISPOSITION, "attachment")?;
    Ok(header)
}

/// Adds what the method's options say a success carries, read from its message.
pub(super) fn add_options(
    header: &mut ResponseHeader,
    target: &Target<'_>,
    message: &[u8],
) -> pingora::Result<()> {
    if let Some(location) = target.binding.location(message) {
        header.insert_header(LOCATION, location)?;
    }
    if let Some(etag) = target.binding.etag(message) {
        add_etag(header, &etag)?;
    }
    Ok(())
}

/// Adds the version of what is answered. Whoever asked may keep it, to ask with its tag whether it still holds.
pub(super) fn add_etag(header: &mut ResponseHeader, etag: &str) -> pingora::Result<()> {
    header.insert_header(ETAG, etag)?;
    if header.headers.get(CACHE_CONTROL).is_some_and(|cache| cache == NO_STORE) {
        header.insert_header(CACHE_CONTROL, "private, no-cache")?;
    }
    Ok(())
}

/// The entity tag of an answer that the client has already, by its `If-None-Match` (RFC 9110 section 13.1.2).
pub(super) fn known(session: &Session, target: &Target<'_>, message: &[u8]) -> Option<String> {
    let request = session.req_header();
    let tags = request.headers.get(IF_NONE_MATCH)?.to_str().ok()?;
    if !matches!(request.method, Verb::GET | Verb::HEAD) || target.binding.success_status() != 200 {
        return None;
    }
    target.binding.etag(message).filter(|etag| lists(tags, etag))
}

/// Whether a list of entity tags names this one, weak or not. Only the quotes part them: a tag may hold a comma.
fn lists(tags: &str, etag: &str) -> bool {
    tags.trim() == "*" || tags.split('"').skip(1).step_by(2).any(|tag| tag == etag.trim_matches('"'))
}

/// Encodes a large body as the client asks. Answers are to bearers of tokens, which no page of another origin can make a
/// browser send: what their length tells (BREACH) tells nobody who did not ask.
pub(super) fn compress(
    session: &Session,
    bytes_min: usize,
    header: &mut ResponseHeader,
    body: Vec<u8>,
) -> pingora::Result<Bytes> {
    if bytes_min == 0 || body.len() < bytes_min {
        return Ok(body.into());
    }
    header.append_header(VARY, "accept-encoding")?;
    let accept = session.req_header().headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let coding = accept.and_then(Coding::accepted);
    let Some((coding, encoded)) = coding.and_then(|coding| Some((coding, coding.encode(&body)?))) else {
        return Ok(body.into());
    };
    header.insert_header(CONTENT_ENCODING, coding.name())?;
    // The same version in other bytes: its tag is a weak one (RFC 9110 section 8.8.3).
    if let Some(etag) = header.headers.get(ETAG).and_then(|etag| etag.to_str().ok()) {
        let weak = format!("W/{etag}");
        header.insert_header(ETAG, weak)?;
    }
    Ok(encoded.into())
}

/// Writes a whole answer. No body goes with HEAD, 204 or 304.
pub(super) async fn write(
    session: &mut Session,
    call: &Call,
    mut header: Box<ResponseHeader>,
    body: Bytes,
) -> pingora::Result<()> {
    call.finish_connection(session);
    if matches!(header.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        header.remove_header(&CONTENT_TYPE);
    } else {
        header.insert_header(CONTENT_LENGTH, body.len())?;
    }
    write_whole(session, header, body).await
}

/// Writes an upstream's failure.
pub(super) async fn write_failure(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    status: &Status,
    record: &mut Record,
) -> pingora::Result<()> {
    record.ended(status.code);
    let http_status = http_status_of(status.code as u32);
    let mut body = Vec::with_capacity(256);
    let shape = error_shape(&session.req_header().headers);
    shape.put(&status.failed(), Some(target.binding.types()), &mut body);
    let mut header = call.extras.begin(http_status)?;
    header.insert_header(CONTENT_TYPE, shape.content_type())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    if status.code == Code::Unauthenticated {
        // The edge has found the token good: what the service minds is not the edge's to guess.
        header.insert_header(WWW_AUTHENTICATE, "Bearer")?;
    }
    if let Some(after) = status.details.as_deref().and_then(retry_after) {
        header.insert_header(RETRY_AFTER, after.as_secs_f64().ceil().max(1.0).to_string())?;
    }
    put_standing(&mut header, call)?;
    write(session, call, Box::new(header), body.into()).await
}

/// Says how the caller stands with its rate limit.
fn put_standing(header: &mut ResponseHeader, call: &Call) -> pingora::Result<()> {
    rate::put_fields(call.standing.as_ref(), |name, value| header.insert_header(name, value))
}

#[cfg(test)]
mod tests {
    use super::lists;

    #[test]
    fn a_tag_is_known_if_it_is_listed() {
        let check = |tags: &str, expect: bool| assert_eq!(lists(tags, "\"a,7\""), expect, "{tags}");
        check("*", true);
        check("\"a,7\"", true);
        check("W/\"a,7\"", true);
        check("\"6\", W/\"a,7\"", true);
        check("\"6\",\"7\"", false);
        check("a,7", false);
        check("", false);
    }
}
