//! Who a process is and whom it trusts: a certificate chain, its key, a bundle of roots and lists of what they have revoked, read
//! from files and watched, so that a rotated certificate serves the next handshake without a restart. Workloads are known by
//! their SPIFFE id, the one URI in their certificate. What a handshake asks of a client is in [`verifier`]; that it still holds
//! while the connection is open, in [`standing`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config;
use crate::drain::Drain;

mod crl;
mod standing;
mod verifier;

pub use crl::{Crls, Doubt};
pub use standing::Standing;
use verifier::Admission;

/// How often the files are read. Rotated certificates overlap for hours; a few seconds are soon enough, and reading three
/// small files costs less than a watch that misses a swapped symlink.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// The provider of all cryptography in the process.
#[must_use]
pub fn crypto() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Handle to a watched identity; clones share it.
#[derive(Clone, Debug)]
pub struct Identity {
    files: Arc<Files>,
    current: watch::Receiver<Arc<Material>>,
    publish: Arc<watch::Sender<Arc<Material>>>,
    /// The current generation, for those who only want to know whether something has changed.
    generation: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    trust_bundle: PathBuf,
    trust_domain: String,
    crls: Crls,
}

/// One generation of an identity.
#[derive(Debug)]
pub struct Material {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's.
    pub key: PrivateKeyDer<'static>,
    /// The roots of peers.
    pub roots: Arc<RootCertStore>,
    /// The roots as they stand in the bundle.
    pub root_certificates: Vec<CertificateDer<'static>>,
    /// Rises with every reload; connections made under an older one may be let go.
    pub generation: u64,
    /// What chains of clients are held against: the roots and what they have revoked.
    clients: Arc<dyn ClientCertVerifier>,
    fingerprint: Vec<u8>,
}

impl Identity {
    /// Reads an identity. [`Identity::watch`] keeps it fresh.
    ///
    /// # Errors
    /// When a file cannot be read, the key is not the certificate's, or the leaf is not valid at this moment.
    pub fn load(config: &config::Identity) -> anyhow::Result<Self> {
        Self::load_with(config, &Crls::default())
    }

    /// The same, with lists of certificates that its roots have revoked.
    ///
    /// # Errors
    /// As [`Identity::load`], and when a list cannot be read.
    pub fn load_with(config: &config::Identity, crls: &Crls) -> anyhow::Result<Self> {
        let files = Files {
            certificate: config.certificate.clone(),
            key: config.key.clone(),
            trust_bundle: config.trust_bundle.clone(),
            trust_domain: config.trust_domain.clone(),
            crls: crls.clone(),
        };
        let material = Arc::new(files.read(1)?);
        let generation = Arc::new(AtomicU64::new(material.generation));
        let (publish, current) = watch::channel(material);
        Ok(Self { files: Arc::new(files), current, publish: Arc::new(publish), generation })
    }

    /// Reads the files again every few seconds until the drain. What cannot be read or does not fit together is refused, and
    /// the generation before serves on.
    pub fn watch(&self, drain: &Drain) {
        let identity = self.clone();
        let stopping = drain.stopping();
        drain.spawn("identity", async move {
            tokio::pin!(stopping);
            loop {
                tokio::select! {
                    () = &mut stopping => return,
                    () = tokio::time::sleep(RELOAD_EVERY) => identity.reload(),
                }
            }
        });
    }

    fn reload(&self) {
        let old = self.material();
        match self.files.read(old.generation + 1) {
            Ok(new) if new.fingerprint == old.fingerprint => (),
            Ok(new) => {
                tracing::info!(generation = new.generation, "identity reloaded");
                let generation = new.generation;
                self.publish.send_replace(Arc::new(new));
                self.generation.store(generation, Ordering::Release);
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "identity not reloaded, the old one serves on")
            }
        }
    }

    /// The generation of this moment.
    #[must_use]
    pub fn material(&self) -> Arc<Material> {
        self.current.borrow().clone()
    }

    /// Wakes with every generation after this moment's.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Material>> {
        let mut changes = self.current.clone();
        changes.mark_unchanged();
        changes
    }

    /// The SPIFFE trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.files.trust_domain
    }

    /// The SPIFFE id of a workload of this trust domain.
    #[must_use]
    pub fn spiffe_id(&self, workload: &str) -> String {
        format!("spiffe://{}/{workload}", self.trust_domain())
    }

    /// The DNS name in the certificate of a workload, which callers send as SNI.
    #[must_use]
    pub fn dns_name(&self, workload: &str) -> String {
        format!("{workload}.{}", self.trust_domain())
    }

    /// The workload a peer's certificate names: it has exactly one URI, and that is a SPIFFE id of this trust domain.
    #[must_use]
    pub fn workload(&self, certificate: &[u8]) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let uri = only_uri(&certificate)?;
        let workload = uri.strip_prefix("spiffe://")?.strip_prefix(self.trust_domain())?.strip_prefix('/')?;
        let plain = !workload.is_empty()
            && workload.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        plain.then(|| workload.to_owned())
    }

    /// A server's side of TLS under this identity.
    ///
    /// # Errors
    /// When no configuration can be built from the first generation.
    pub fn server(&self, clients: Clients, alpn: &[&[u8]]) -> anyhow::Result<TlsServer> {
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let material = self.material();
        let built = build_server(&material, &clients, &alpn)?;
        let cached = ArcSwap::from_pointee((material.generation, Arc::new(built)));
        Ok(TlsServer { identity: self.clone(), clients, alpn, cached: Arc::new(cached) })
    }

    /// A client's side of TLS under this identity, speaking h2.
    ///
    /// # Errors
    /// When the certificate or the key is refused.
    pub fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let material = self.material();
        let mut config = ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(material.roots.clone())
            .with_client_auth_cert(material.chain.clone(), material.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would skip the check of certificates that may have been rotated away since.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

impl Files {
    fn read(&self, generation: u64) -> anyhow::Result<Material> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let (chain_pem, key_pem, roots_pem) =
            (read(&self.certificate)?, read(&self.key)?, read(&self.trust_bundle)?);
        let chain = certificates(&chain_pem).with_context(|| format!("in {}", self.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .with_context(|| format!("no usable private key in {}", self.key.display()))?;
        let root_certificates =
            certificates(&roots_pem).with_context(|| format!("in {}", self.trust_bundle.display()))?;
        let mut roots = RootCertStore::empty();
        for root in &root_certificates {
            roots
                .add(root.clone())
                .with_context(|| format!("a root in {} is unusable", self.trust_bundle.display()))?;
        }
        let signing = rustls::crypto::ring::sign::any_supported_type(&key)?;
        rustls::sign::CertifiedKey::new(chain.clone(), signing).keys_match().with_context(|| {
            format!(
                "the key in {} is not the certificate's in {}",
                self.key.display(),
                self.certificate.display()
            )
        })?;
        let (_, leaf) = X509Certificate::from_der(&chain[0]).context("the certificate does not parse")?;
        anyhow::ensure!(
            leaf.validity().is_valid(),
            "the certificate in {} is not valid now",
            self.certificate.display()
        );
        let roots = Arc::new(roots);
        let lists = self.crls.read()?;
        let clients = lists.verifier(&roots, &self.crls)?;
        let fingerprint = [chain_pem, key_pem, roots_pem, lists.fingerprint].concat();
        Ok(Material { chain, key, roots, root_certificates, generation, clients, fingerprint })
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .context("a certificate does not parse")?;
    anyhow::ensure!(!chain.is_empty(), "there is no certificate");
    Ok(chain)
}

/// The URI of a certificate, if it has exactly one.
fn only_uri<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c str> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let uri = uris.next()?;
    uris.next().is_none().then_some(uri)
}

/// Whom a server lets in.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Anyone; a certificate is verified if one is shown.
    Optional,
    /// Anyone with a certificate of the bundle's.
    Required,
    /// Workloads with one of these SPIFFE ids; all others fail the handshake.
    Only(Vec<String>),
}

/// A server's TLS configuration that follows its identity.
#[derive(Clone, Debug)]
pub struct TlsServer {
    identity: Identity,
    clients: Clients,
    alpn: Vec<Vec<u8>>,
    cached: Arc<ArcSwap<(u64, Arc<ServerConfig>)>>,
}

impl TlsServer {
    /// The configuration for the next handshake.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        let cached = self.cached.load();
        let material = self.identity.material();
        if cached.0 == material.generation {
            return cached.1.clone();
        }
        match build_server(&material, &self.clients, &self.alpn) {
            Ok(config) => {
                let config = Arc::new(config);
                self.cached.store(Arc::new((material.generation, config.clone())));
                config
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "identity not taken over, the old one serves on"
                );
                self.cached.store(Arc::new((material.generation, cached.1.clone())));
                cached.1.clone()
            }
        }
    }

    /// The identity behind it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

fn build_server(material: &Material, clients: &Clients, alpn: &Vec<Vec<u8>>) -> anyhow::Result<ServerConfig> {
    let verifier = Arc::new(Admission::new(Arc::clone(&material.clients), clients.clone()));
    let mut config = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(material.chain.clone(), material.key.clone_key())?;
    config.alpn_protocols.clone_from(alpn);
    // Resumption skips the verifier. Both are needed: tickets are TLS 1.3's way, the session store TLS 1.2's.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
pub(crate) mod tests;
