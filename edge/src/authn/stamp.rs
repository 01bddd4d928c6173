//! The transaction tokens of one caller, one for each upstream it has called: minted when they are first needed, used again for half
//! of their life, and never valid for longer than the credentials they stand for. So the signature costs a caller's first request
//! something and the others nothing.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use chassis::call::Caller;
use chassis::transaction_token::{Minted, Signer, TokenError};
use http::HeaderValue;

/// See the module. Shared by all who are the same caller.
#[derive(Debug)]
pub struct Stamps {
    signer: Signer,
    caller: Arc<Caller>,
    /// By audience. A handful of upstreams: a walk is shorter than a hash.
    minted: ArcSwap<Vec<(Arc<str>, Minted)>>,
}

impl Stamps {
    /// No tokens yet.
    pub(super) fn new(signer: &Signer, caller: Arc<Caller>) -> Arc<Self> {
        Arc::new(Self { signer: signer.clone(), caller, minted: ArcSwap::default() })
    }

    /// A token for the workload `audience`, fresh enough for a request. `not_after` is when the credentials end, the same each time:
    /// those that share tokens came with the same ones.
    ///
    /// # Errors
    /// When the caller cannot be written.
    pub fn of(
        &self,
        audience: &Arc<str>,
        not_after: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<HeaderValue, TokenError> {
        let minted = self.minted.load();
        let known = minted.iter().find(|(name, _)| Arc::ptr_eq(name, audience) || name == audience);
        if let Some((_, minted)) = known.filter(|(_, minted)| now < minted.renew_at) {
            return Ok(minted.value.clone());
        }
        let fresh = self.signer.mint(&self.caller, audience, now, not_after)?;
        let value = fresh.value.clone();
        // Two requests may mint at once; both tokens are good, and one is kept.
        let mut next: Vec<_> = minted.iter().filter(|(name, _)| name != audience).cloned().collect();
        next.push((Arc::clone(audience), fresh));
        self.minted.store(Arc::new(next));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chassis::call::Principal;

    use super::*;

    #[test]
    fn a_token_is_used_again_for_half_its_life_and_ends_with_the_credentials() {
        let lifetime = Duration::from_secs(300);
        let signer = Signer::load(None, "causeway.test", lifetime).unwrap();
        let caller = Arc::new(Caller { principal: Principal::Anonymous, service: None });
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ends = now + Duration::from_secs(200);
        let stamps = Stamps::new(&signer, caller);
        let (ledger, docs): (Arc<str>, Arc<str>) =
            ("spiffe://t/svc-ledger".into(), "spiffe://t/svc-docs".into());
        let first = stamps.of(&ledger, Some(ends), now).unwrap();
        assert_eq!(stamps.of(&ledger, Some(ends), now + Duration::from_secs(149)).unwrap(), first);
        assert_ne!(stamps.of(&docs, Some(ends), now).unwrap(), first, "each upstream has its own");
        assert_eq!(stamps.of(&ledger, Some(ends), now).unwrap(), first, "and all are kept");
        let second = stamps.of(&ledger, Some(ends), now + Duration::from_secs(150)).unwrap();
        assert_ne!(second, first);
        let verified = signer.verifier().verify(&second, &ledger, now + Duration::from_secs(150)).unwrap();
        assert_eq!(verified.expires_at, ends);
    }
}
