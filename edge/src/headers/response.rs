//! What an upstream's answer shows downstream. A gRPC answer keeps its metadata but for what belongs to the connection or to
//! the edge; a REST answer is written anew, so of the upstream's header only listed names go along. Never a `grpc-*` name on
//! REST.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, SERVER, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};

use super::{OWN_PREFIX, Pass, TXN_TOKEN};

/// Connection-level fields, and what would tell strangers about the inside or act on the edge's origin.
static NEVER: [HeaderName; 13] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    SERVER,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("alt-svc"),
    TXN_TOKEN,
];

/// Cleans the header or the trailers of a gRPC answer in place.
pub fn downstream_grpc(headers: &mut HeaderMap) {
    // A walk over the few names there are costs less than a search for each that may not be, and finding one is rare.
    let stays = |name: &&HeaderName| NEVER.contains(name) || name.as_str().starts_with(OWN_PREFIX);
    while let Some(name) = headers.keys().find(stays).cloned() {
        headers.remove(name);
    }
}

/// What of a gRPC answer's header goes into the REST answer: listed names only.
#[must_use]
pub fn downstream_rest(from: &HeaderMap, pass: &Pass) -> HeaderMap {
    let mut to = HeaderMap::new();
    pass.copy(from, &mut to);
    to
}
