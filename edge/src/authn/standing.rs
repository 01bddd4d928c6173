//! Credentials that a request was believed by and that may be taken back while it is served: a token by a revocation, a certificate
//! by a list or by the end of its authority. Whoever serves a stream waits for that beside its deadline.

use std::future::pending;
use std::sync::Arc;

use chassis::identity::Standing;

use super::refusal::{CertificateCause, Refusal};
use super::revocation::Revocable;

/// See the module. Empty for what only expires.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub(super) token: Option<Arc<Revocable>>,
    pub(super) certificate: Option<Arc<Standing>>,
}

impl Credentials {
    /// Resolves when one of them is no longer good, if ever, and says which.
    pub async fn lost(&self) -> Refusal {
        let token = async {
            match &self.token {
                Some(token) => token.revoked().await,
                None => pending().await,
            }
        };
        let certificate = async {
            match &self.certificate {
                Some(certificate) => certificate.lost().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = token => Refusal::TokenRevoked,
            () = certificate => CertificateCause::Standing.into(),
        }
    }
}
