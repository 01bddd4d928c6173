//! Certificates: whom the edge believes to be a service, and what happens to its connections when they are rotated.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chassis::identity::{Clients, Identity};
use chassis::{Drain, Metrics, config};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tokio_rustls::TlsAcceptor;

use super::super::testing::{After, eventually, respond_ok, serve_h2_over};
use super::super::{DialError, OpenError, Upstream, UpstreamConfig, Upstreams};
use super::{Error, call};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes the identity of a workload that trusts `bundle`, key first: a half-written identity does not load.
    fn write(&self, directory: &Path, workload: &str, bundle: &str) -> config::Identity {
        let mut params = CertificateParams::new(vec![format!("{workload}.causeway.test")]).unwrap();
        let id = format!("spiffe://causeway.test/{workload}");
        params.subject_alt_names.push(SanType::URI(id.as_str().try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |name: &str| directory.join(format!("{workload}.{name}"));
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        std::fs::write(file("pem"), certificate.pem()).unwrap();
        std::fs::write(file("ca"), bundle).unwrap();
        config::Identity {
            certificate: file("pem"),
            key: file("key"),
            trust_bundle: file("ca"),
            trust_domain: "causeway.test".into(),
        }
    }
}

/// A service under its identity; counts its handshakes.
async fn serve(identity: &config::Identity, drain: &Drain) -> (SocketAddr, Identity, Arc<AtomicUsize>) {
    let identity = Identity::load(identity).unwrap();
    identity.watch(drain);
    let tls = identity.server(Clients::Only(vec!["spiffe://causeway.test/edge".into()]), &[b"h2"]).unwrap();
    let handshakes = Arc::new(AtomicUsize::new(0));
    let count = handshakes.clone();
    let accept = move |tcp| {
        let (acceptor, count) = (TlsAcceptor::from(tls.current()), count.clone());
        async move {
            let accepted = acceptor.accept(tcp).await.ok()?;
            count.fetch_add(1, Ordering::SeqCst);
            Some(accepted)
        }
    };
    let address = serve_h2_over(drain, accept, |_, _, incoming, respond| async move {
        let sent = incoming.into_body().data().await.unwrap().unwrap();
        respond_ok(respond, &sent[5..]);
        After::Nothing
    })
    .await;
    (address, identity, handshakes)
}

fn upstream(name: &str, address: SocketAddr, identity: &Identity, drain: &Drain) -> Arc<Upstream> {
    let toml = format!("name = {name:?}\naddresses = [\"{address}\"]\nhealth = false");
    let config: UpstreamConfig = toml::from_str(&toml).unwrap();
    let upstreams = Upstreams::start(&[config], Some(identity), drain, &Metrics::default()).unwrap();
    upstreams.get(name).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_named_workload_is_believed_and_rotation_is_followed() {
    let (directory, drain, old) = (tempfile::tempdir().unwrap(), Drain::default(), Ca::new());
    let edge = Identity::load(&old.write(directory.path(), "edge", &old.pem)).unwrap();
    edge.watch(&drain);
    let (address, service, handshakes) =
        serve(&old.write(directory.path(), "svc-ledger", &old.pem), &drain).await;
    let ledger = upstream("svc-ledger", address, &edge, &drain);
    for _ in 0..5 {
        assert_eq!(call(&ledger, b"ping").await.unwrap(), "ping");
    }
    assert_eq!(handshakes.load(Ordering::SeqCst), 1, "one connection serves them all");

    // The same server under another name: its certificate is good, but not for that workload.
    let docs = upstream("svc-docs", address, &edge, &drain);
    let Err(Error::Open(OpenError::Dial { source, .. })) = call(&docs, b"ping").await else {
        panic!("believed")
    };
    assert!(matches!(*source, DialError::Tls { .. }), "{source:?}");

    // Another edge is refused by the service: the handshake of TLS 1.3 ends before the server has said so, the call does not.
    let imposter = Identity::load(&old.write(directory.path(), "svc-cache", &old.pem)).unwrap();
    assert!(call(&upstream("svc-ledger", address, &imposter, &drain), b"ping").await.is_err());

    // A new authority: trusted beside the old one first, then issuing. No call fails at any time, and connections that were
    // made under what was are replaced.
    let new = Ca::new();
    let both = format!("{}{}", old.pem, new.pem);
    for authority in [&old, &new] {
        let (seen, generation) = (handshakes.load(Ordering::SeqCst), edge.material().generation);
        for workload in ["edge", "svc-ledger"] {
            authority.write(directory.path(), workload, &both);
        }
        let begun = Instant::now();
        while edge.material().generation == generation || handshakes.load(Ordering::SeqCst) == seen {
            assert!(begun.elapsed() < Duration::from_secs(20), "the rotation is not followed");
            assert_eq!(call(&ledger, b"ping").await.unwrap(), "ping");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eventually("the service's own reload", || service.material().generation > generation).await;
    }
}
