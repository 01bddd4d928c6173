//! Whether a client's certificate would still be admitted. A connection lives for hours; in that time its certificate can be
//! revoked, its authority can be dropped from the bundle, and a handshake is not repeated. So the chain is kept and judged again
//! by the very verifier of new handshakes whenever the files have changed. As long as they have not, the question is two loads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;

use super::TlsServer;
use super::verifier::Admission;

/// The standing of the client at the other end of a connection.
pub struct Standing {
    server: TlsServer,
    chain: Vec<CertificateDer<'static>>,
    /// The generation of the last judgement, and in the lowest bit whether it was against the client.
    judged: AtomicU64,
}

impl Standing {
    /// The standing of whoever has proven to hold `chain`, leaf first, in a handshake with `server`.
    #[must_use]
    pub fn new(server: TlsServer, chain: Vec<CertificateDer<'static>>) -> Arc<Self> {
        // Judged under no generation yet: the files may have changed since the handshake began.
        Arc::new(Self { server, chain, judged: AtomicU64::new(0) })
    }

    /// Whether a handshake at this moment would still let the client in.
    #[must_use]
    pub fn holds(&self, now: SystemTime) -> bool {
        let judged = self.judged.load(Ordering::Relaxed);
        if judged >> 1 == self.server.identity.generation.load(Ordering::Acquire) {
            return judged & 1 == 0;
        }
        let material = self.server.identity.material();
        let admission = Admission::new(Arc::clone(&material.clients), self.server.clients.clone());
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let verified = self.chain.split_first().is_some_and(|(leaf, intermediates)| {
            admission.verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(since)).is_ok()
        });
        self.judged.store(material.generation << 1 | u64::from(!verified), Ordering::Relaxed);
        verified
    }

    /// Resolves when a handshake would no longer let the client in because files have changed, if ever.
    pub async fn lost(&self) {
        let mut current = self.server.identity.current.clone();
        current.mark_changed();
        while current.changed().await.is_ok() {
            if !self.holds(SystemTime::now()) {
                return;
            }
        }
        // Nobody watches the files any more.
        std::future::pending::<()>().await;
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("judged", &self.judged).finish_non_exhaustive()
    }
}
