//! What an answer of the public listener carries besides what it says: what a browser must not make of it, and which page may see
//! it. It is put into a
//! header before everything else, so that an answer which knows better (the policy of a page, the `Cache-Control` of a page that
//! may be kept) only has to say so. All of it is known at load: a request costs the copies of a few static texts.
//!
//! Native gRPC carries none of it. No browser can send it, so none would read it, and to its clients headers are metadata.

use http::HeaderMap;
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use pingora::http::ResponseHeader;

use crate::cors::Asked;
use crate::policy::Listener;
use crate::snapshot::Snapshot;

/// Two years, as browsers ask of those they remember by themselves.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

/// What holds for every answer that is no native gRPC: it is of the type that it says.
const NOSNIFF: (HeaderName, HeaderValue) = (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// What holds for answers that are no pages: nothing of them runs, loads or is shown in a frame, and only pages of the same
/// origin may embed them; those of others ask by CORS.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    // For browsers that do not know the word before.
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Room for what most answers carry: the map of an answer is made once and does not grow.
const FIELDS: usize = 16;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    secured: bool,
    hsts: bool,
    /// What the page is that asks.
    pub cors: Asked,
}

impl Extras {
    /// What answers to a request that came by a listener carry.
    #[must_use]
    pub fn new(listener: Listener, snapshot: &Snapshot, headers: &HeaderMap) -> Self {
        match listener {
            Listener::Public => Self { secured: true, hsts: snapshot.hsts, cors: snapshot.cors.ask(headers) },
            Listener::Partner | Listener::Mesh => Self::default(),
        }
    }

    /// As [`Extras::new`], for what cannot be read as a request.
    #[must_use]
    pub fn unread(listener: Listener, hsts: bool) -> Self {
        let secured = listener == Listener::Public;
        Self { secured, hsts: hsts && secured, cors: Asked::Off }
    }

    /// The header of an answer, with nothing but this in it.
    ///
    /// # Errors
    /// When `status` is none.
    pub fn begin(&self, status: u16) -> pingora::Result<ResponseHeader> {
        let mut header = ResponseHeader::build_no_case(status, Some(FIELDS))?;
        for (name, value) in self.fields() {
            header.insert_header(name, value)?;
        }
        Ok(header)
    }

    /// What is known before the answer is.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        let hsts = self.hsts.then_some((STRICT_TRANSPORT_SECURITY, HSTS));
        let security = self.secured.then_some(SECURITY);
        [NOSNIFF].into_iter().chain(hsts).chain(security.into_iter().flatten()).chain(self.cors.fields())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_listener_speaks_to_browsers() {
        let fields = |listener| Extras::unread(listener, true).fields().count();
        let counts = [Listener::Public, Listener::Partner, Listener::Mesh].map(fields);
        assert_eq!(counts, [6, 1, 1]);
    }

    #[test]
    fn an_answer_that_knows_better_says_so() {
        let mut header = Extras::unread(Listener::Public, true).begin(200).unwrap();
        header.insert_header(CONTENT_SECURITY_POLICY, "default-src 'self'").unwrap();
        assert_eq!(header.headers.get_all(CONTENT_SECURITY_POLICY).iter().count(), 1);
        assert_eq!(header.headers[CONTENT_SECURITY_POLICY], "default-src 'self'");
    }
}
