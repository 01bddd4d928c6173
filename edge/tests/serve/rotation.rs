//! Everything that is rotated in the life of an edge, while requests run: certificates, the roots that vouch for them, the keys of the
//! issuer, the configuration. Nobody notices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};
use tokio_rustls::TlsConnector;

use crate::client::{Grpc, Http, Rest};
use crate::messages::{HelloReply, HelloRequest};
use crate::world::{Authority, World, ca, signer, uncounted};

/// How many calls a client makes before it comes anew, with whatever is valid then.
const CALLS: usize = 6;
const NAMES: [&str; 4] = ["svc-echo", "edge", "public", "partner"];

/// What clients know at a moment.
#[derive(Clone)]
struct Known {
    token: String,
    partner: (String, String),
}

struct Scene {
    world: World,
    roots: String,
    known: Mutex<Known>,
    over: AtomicBool,
    /// How often each client has come anew, and all calls.
    rounds: [AtomicUsize; 5],
    calls: AtomicUsize,
}

impl Scene {
    fn known(&self) -> Known {
        self.known.lock().unwrap().clone()
    }

    /// Trusts the old roots and the new.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        roots
    }

    fn tls(&self) -> rustls::ClientConfig {
        rustls::ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// The certificate that is shown there.
    async fn shown(&self, at: SocketAddr, name: &str) -> Option<Vec<u8>> {
        let tcp = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (chain, key) = self.world.pair("edge");
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let tls = rustls::ClientConfig::builder().with_root_certificates(self.roots());
        let mut tls = tls.with_client_auth_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.ok()?;
        Some(tls.get_ref().1.peer_certificates()?[0].to_vec())
    }

    /// Replaces the roots, and then everybody's certificate by one of `by`; waits until all of it is in force.
    async fn rotate(&self, roots: &str, by: &Authority) {
        self.world.put("ca.pem", roots);
        for name in NAMES {
            self.world.issue(by, name);
        }
        let places = [
            ("svc-echo", self.world.behind, "svc-echo.causeway.internal"),
            ("edge", self.world.mesh, "edge.causeway.internal"),
            ("public", self.world.public, "localhost"),
            ("public", self.world.partner, "localhost"),
        ];
        for (name, at, server_name) in places {
            let written = self.world.pair(name).0;
            let written = CertificateDer::from_pem_slice(written.as_bytes()).unwrap();
            let mut looks = 0;
            while self.shown(at, server_name).await.as_deref() != Some(&*written) {
                looks += 1;
                assert!(looks < 1_000, "{name} is not shown at {at}");
                sleep(Duration::from_millis(10)).await;
            }
        }
        self.known.lock().unwrap().partner = self.world.pair("partner");
        self.all_come_anew().await;
    }

    /// Waits until every client has begun anew, with what is known by then.
    async fn all_come_anew(&self) {
        for rounds in &self.rounds {
            let before = rounds.load(Ordering::Relaxed);
            // Two rounds of handshakes are seconds of work on a busy machine, hence a cap of its own.
            let mut looks = 0;
            while rounds.load(Ordering::Relaxed) < before + 2 {
                looks += 1;
                assert!(looks < 6_000, "a client does not come anew");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn rest(&self, client: usize, http: Http) {
        while !self.over.load(Ordering::Relaxed) {
            let rest = Rest::over(&self.world, self.tls(), http, Some(self.known().token));
            for _ in 0..CALLS {
                let reply = rest.get("/v1/notes/n-1").await;
                assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
                self.calls.fetch_add(1, Ordering::Relaxed);
            }
            self.rounds[client].fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn partner(&self, client: usize) {
        while !self.over.load(Ordering::Relaxed) {
            let (chain, key) = self.known().partner;
            let grpc = Grpc::partner_with(&self.world, &self.roots, (&chain, &key));
            for _ in 0..CALLS {
                let hello = HelloRequest { name: "you".into() };
                grpc.unary::<_, HelloReply>("/foreign.Greeter/Hello", hello).await.unwrap();
                self.calls.fetch_add(1, Ordering::Relaxed);
            }
            self.rounds[client].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f8_whatever_is_rotated_under_load_fails_no_request() {
    let allow = |text: String| {
        text.replace("[\"anonymous\", \"subject\"]", "[\"anonymous\", \"subject\", \"partner\"]")
    };
    let world = World::with(|text| uncounted(allow(text))).await;
    let next = ca();
    let known = Mutex::new(Known { token: world.token(), partner: world.pair("partner") });
    let roots = format!("{}{}", world.ca_pem(), next.pem());
    let (over, rounds, calls) = (AtomicBool::new(false), Default::default(), AtomicUsize::new(0));
    let scene = Arc::new(Scene { world, roots, known, over, rounds, calls });
    let mut clients = JoinSet::new();
    for client in 0..5 {
        let scene = Arc::clone(&scene);
        clients.spawn(async move {
            match client {
                0 | 1 => scene.rest(client, Http::One).await,
                2 | 3 => scene.rest(client, Http::Two).await,
                _ => scene.partner(client).await,
            }
        });
    }
    let world = &scene.world;

    // New keys; then certificates of the new authority, while both are trusted; then the old one is trusted no more.
    scene.rotate(&scene.roots, &world.ca).await;
    scene.rotate(&scene.roots, &next).await;
    scene.rotate(&next.pem(), &next).await;

    // The issuer's next key is known before it signs, and the last one for as long as its tokens live.
    let (key, set) = signer("k2");
    let old = world.token();
    let generation = || world.number("edge_config_generation");
    let replace = async |keys: serde_json::Value| {
        let before = generation();
        world.put("jwks.json", &keys.to_string());
        world.until("the keys are read", || generation() > before).await;
    };
    replace(json!({"keys": [world.key_set()["keys"][0], set["keys"][0]]})).await;
    scene.known.lock().unwrap().token = world.signed((&key, "k2"), "alice", "notes.read", 600);
    scene.all_come_anew().await;
    replace(set).await;
    let refused = Rest::over(world, scene.tls(), Http::One, Some(old));
    assert_eq!(refused.get("/v1/notes/n-1").await.status, StatusCode::UNAUTHORIZED, "a removed key is dead");

    for n in 0..3 {
        world
            .reconfigure(|text| {
                text.replacen("[[upstream]]", &format!("[[upstream]]\nready_ms = {}", 2_000 + n), 1)
            })
            .await;
        scene.all_come_anew().await;
        world.reconfigure(|text| text.replacen(&format!("\nready_ms = {}", 2_000 + n), "", 1)).await;
    }
    scene.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(scene.calls.load(Ordering::Relaxed) >= 500, "{}", scene.calls.load(Ordering::Relaxed));
}
