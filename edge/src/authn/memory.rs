//! What a connection was last believed by. A client sends the token of its last request again with the next one, and comparing the
//! two costs a fraction of taking the header apart, hashing the token and asking the memory that all connections share.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use super::Authenticated;
use super::credentials::Scheme;
use super::tokens::Token;

/// See the module; empty for a new connection. It holds one token, and whoever asks must check that the token still holds.
#[derive(Debug, Default)]
pub struct Memory {
    last: ArcSwapOption<Last>,
    partner: ArcSwapOption<(Option<Arc<Token>>, Authenticated)>,
}

#[derive(Debug)]
struct Last {
    /// The whole value of the Authorization header, copied: the header it came in is larger.
    value: Box<[u8]>,
    scheme: Scheme,
    token: Arc<Token>,
}

impl Memory {
    /// The token of the last request, if this one has the same credentials.
    pub(super) fn recall(&self, value: &HeaderValue) -> Option<(Scheme, Arc<Token>)> {
        let last = self.last.load();
        let last = last.as_ref().filter(|last| same(&last.value, value.as_bytes()))?;
        Some((last.scheme, Arc::clone(&last.token)))
    }

    /// Takes the place of what was remembered.
    pub(super) fn keep(&self, value: &HeaderValue, scheme: Scheme, token: &Arc<Token>) {
        let last = Last { value: value.as_bytes().into(), scheme, token: Arc::clone(token) };
        self.last.store(Some(Arc::new(last)));
    }

    /// The partner of this connection under that id, with that token or with none, if it was the last to ask.
    pub(super) fn partner(&self, id: &str, token: Option<&Arc<Token>>) -> Option<Authenticated> {
        let last = self.partner.load();
        let (known, authenticated) = &**last.as_ref()?;
        let same = match (known, token) {
            (None, None) => true,
            (Some(known), Some(token)) => Arc::ptr_eq(known, token),
            (None, Some(_)) | (Some(_), None) => false,
        };
        // A configuration that came in meanwhile may call the same certificate by another name.
        let named = authenticated.caller.partner_id() == Some(id);
        (same && named).then(|| authenticated.clone())
    }

    /// Takes the place of the partner that was remembered.
    pub(super) fn keep_partner(&self, token: Option<Arc<Token>>, authenticated: &Authenticated) {
        self.partner.store(Some(Arc::new((token, authenticated.clone()))));
    }
}

/// Looks at every byte, however early they differ: behind a proxy, one connection may carry many clients, and none of them should
/// learn from the time it takes how much of another's token it has guessed.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
