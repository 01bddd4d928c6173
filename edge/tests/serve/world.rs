//! A whole small world for one test: a certificate authority, an issuer of tokens, the service behind the edge and the edge
//! itself, all in this process on free ports, gone with the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chassis::EdgeChannel;
use chassis::identity::{Clients, Identity};
use chassis::run::Process;
use chassis::transaction_token::{self, Verifier};
use edge::config::Config;
use edge::policy::Listener;
use edge::run::Edge;
use edge::snapshot::Plan;
use http_body_util::BodyExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::upstream;

const TRUST_DOMAIN: &str = "causeway.internal";
pub const ISSUER: &str = "https://issuer.test";

/// Who vouches for certificates.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub struct World {
    directory: tempfile::TempDir,
    pub ca: Authority,
    signer: EcdsaKeyPair,
    pub public: SocketAddr,
    pub partner: SocketAddr,
    pub mesh: SocketAddr,
    pub admin: SocketAddr,
    /// Where the service listens.
    pub behind: SocketAddr,
    pub upstream: Process,
    pub process: Process,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<anyhow::Result<()>>,
}

/// A configuration under which one person may call as often as a test likes.
pub fn uncounted(text: String) -> String {
    text.replace("[limits]", "[rate_limits]\nenabled = false\n[limits]")
}

impl World {
    pub async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// A world whose edge has an edited configuration.
    pub async fn with(edit: impl FnOnce(String) -> String) -> Self {
        Self::around(Process::default(), edit).await
    }

    /// A world around a process that has begun elsewhere.
    pub async fn around(process: Process, edit: impl FnOnce(String) -> String) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let ca = ca();
        let (signer, key_set) = signer("k1");
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(directory.path().join("jwks.json"), key_set.to_string()).unwrap();
        for name in ["edge", "svc-echo", "svc-docs", "public", "partner", "stranger"] {
            issue(&ca, directory.path(), name);
        }
        std::fs::write(directory.path().join("clients.crl"), revoked(&ca, directory.path(), &[])).unwrap();
        let key = transaction_token::generate().unwrap();
        std::fs::write(directory.path().join("txn.key"), &key).unwrap();
        std::fs::write(directory.path().join("txn.pem"), transaction_token::public_half(&key).unwrap())
            .unwrap();
        compile(directory.path(), "echo", "echo/v1/echo.proto");
        compile(directory.path(), "foreign", "foreign/greeter.proto");

        let upstream = Process::default();
        let behind = start_upstream(directory.path(), &upstream).await;
        let admin = free_port().await;
        let config = config(directory.path(), behind, admin, edit);
        let plan = Plan::load(&config).unwrap();
        let edge = Edge::start(&config, plan, process.clone()).await.unwrap();
        let public = edge.address(Listener::Public).unwrap();
        let partner = edge.address(Listener::Partner).unwrap();
        let mesh = edge.address(Listener::Mesh).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut serving = JoinSet::new();
        serving.spawn(edge.serve(async {
            let _ = stopped.await;
        }));
        let world = Self {
            directory,
            ca,
            signer,
            public,
            partner,
            mesh,
            admin,
            behind,
            upstream,
            process,
            stop: Some(stop),
            serving,
        };
        world.until("the edge is ready", || world.process.health.is_ready()).await;
        world
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..1_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in ten seconds: {what}");
    }

    /// Tells the edge to stop, as SIGTERM would.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for the edge to have stopped.
    pub async fn stopped(&mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.serving.join_next()).await;
        ended.unwrap().unwrap().unwrap().unwrap();
    }

    /// The lines of the access log that have been written so far.
    pub fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A token with these scopes, good for `seconds`.
    pub fn token_for(&self, scopes: &str, seconds: i64) -> String {
        self.token_of("alice", scopes, seconds)
    }

    /// A token of somebody.
    pub fn token_of(&self, subject: &str, scopes: &str, seconds: i64) -> String {
        self.signed((&self.signer, "k1"), subject, scopes, seconds)
    }

    /// A token of somebody, by a key of the issuer's.
    pub fn signed(&self, key: (&EcdsaKeyPair, &str), subject: &str, scopes: &str, seconds: i64) -> String {
        signed(key, &json!({"sub": subject, "scope": scopes, "exp": now() + seconds}))
    }

    /// A token that opens everything, but for what `changes` says.
    pub fn token_with(&self, changes: &Value) -> String {
        signed((&self.signer, "k1"), changes)
    }

    /// Writes the list of revoked certificates anew, with these on it.
    pub fn revoke_certificates(&self, names: &[&str]) {
        let list = revoked(&self.ca, self.directory.path(), names);
        std::fs::write(self.directory.path().join("clients.crl"), list).unwrap();
    }

    /// A token that opens everything.
    pub fn token(&self) -> String {
        self.token_for("notes.read notes.write", 600)
    }

    /// A way out for a workload, through the mesh listener.
    pub fn channel(&self, workload: &str) -> EdgeChannel {
        let identity = Identity::load(&identity(self.directory.path(), workload)).unwrap();
        let mesh = format!("addresses = [\"{}\"]", self.mesh);
        EdgeChannel::start(&toml::from_str(&mesh).unwrap(), &identity, &self.upstream.drain).unwrap()
    }

    /// The certificate and key of somebody.
    pub fn pair(&self, name: &str) -> (String, String) {
        let read =
            |end: &str| std::fs::read_to_string(self.directory.path().join(format!("{name}.{end}"))).unwrap();
        (read("pem"), read("key"))
    }

    /// Changes the configuration file of the running edge.
    pub fn edit(&self, edit: impl FnOnce(String) -> String) {
        let path = self.directory.path().join("edge.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, edit(text)).unwrap();
    }

    /// Changes the configuration file and waits until the edge has taken it over.
    pub async fn reconfigure(&self, edit: impl FnOnce(String) -> String) {
        let generation = self.number("edge_config_generation");
        self.edit(edit);
        self.until("the configuration is taken over", || self.number("edge_config_generation") > generation)
            .await;
    }

    /// Changes the configuration file and waits until the edge has refused it; says why.
    pub async fn misconfigure(&self, edit: impl FnOnce(String) -> String) -> String {
        let refused = || self.number("edge_config_reloads_total{result=\"refused\"}");
        let before = refused();
        self.edit(edit);
        self.until("the configuration is refused", || refused() > before).await;
        let page: Value = serde_json::from_str(&self.page("/config").await).unwrap();
        page["last_reload"]["refused"].as_str().unwrap().to_owned()
    }

    /// A number of the edge's metrics, with its labels as they are printed; zero if it is not there.
    pub fn number(&self, name: &str) -> i64 {
        let page = self.process.metrics.render().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// A page of the admin listener.
    pub async fn page(&self, path: &str) -> String {
        let stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        let request = http::Request::get(path)
            .header("host", "admin")
            .header("connection", "close")
            .body(http_body_util::Empty::<Bytes>::new())
            .unwrap();
        // Together: a connection stands still while nobody takes the body off it.
        let whole =
            async { sender.send_request(request).await.unwrap().into_body().collect().await.unwrap() };
        let (body, _) = tokio::join!(whole, connection);
        let body = body.to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// How many calls the service behind the edge is serving.
    pub fn calls_behind(&self) -> i64 {
        let page = self.upstream.metrics.render().unwrap();
        let gauge = page.lines().find_map(|line| line.strip_prefix("rpc_server_calls_in_flight "));
        gauge.map_or(0, |value| value.parse().unwrap())
    }

    /// Gives somebody a new certificate and key.
    pub fn issue(&self, by: &Authority, name: &str) {
        issue(by, self.directory.path(), name);
    }

    /// Puts a file where the edge and its service look for it.
    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The keys of the issuer at this moment.
    pub fn key_set(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.directory.path().join("jwks.json")).unwrap())
            .unwrap()
    }

    /// The authority that vouches for everybody here.
    pub fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// A client's TLS: trusts the authority and shows no certificate.
    pub fn client_tls(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.as_ref().der().clone()).unwrap();
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
    }
}

pub fn ca() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(ca: &Authority, directory: &Path, name: &str) {
    let mut params = CertificateParams::default();
    let (dns, uri) = match name {
        "public" => ("localhost".to_owned(), None),
        "partner" | "stranger" => (format!("{name}.test"), Some(format!("urn:partner:{name}"))),
        workload => {
            (format!("{workload}.{TRUST_DOMAIN}"), Some(format!("spiffe://{TRUST_DOMAIN}/{workload}")))
        }
    };
    params.subject_alt_names = vec![SanType::DnsName(dns.try_into().unwrap())];
    params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The list of these certificates of the authority, which it has revoked.
fn revoked(ca: &Authority, directory: &Path, names: &[&str]) -> String {
    let serial = |name: &&str| {
        let pem = std::fs::read(directory.join(format!("{name}.pem"))).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        SerialNumber::from_slice(pem.parse_x509().unwrap().raw_serial())
    };
    let revoked = names.iter().map(|name| RevokedCertParams {
        serial_number: serial(name),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().pem().unwrap()
}

/// A token by a key of the issuer's that opens everything, but for what `changes` says.
fn signed((signer, kid): (&EcdsaKeyPair, &str), changes: &Value) -> String {
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid});
    let mut claims = json!({
        "iss": ISSUER, "aud": "causeway", "sub": "alice", "customer_id": "customer-1",
        "scope": "notes.read notes.write", "iat": now() - 600, "exp": now() + 600, "client_id": "web",
        "jti": "t-1",
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = signer.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub fn signer(kid: &str) -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let key_set = json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y}]});
    (pair, key_set)
}

fn compile(directory: &Path, name: &str, file: &'static str) {
    std::fs::write(directory.join(format!("{name}.binpb")), compiled(file)).unwrap();
}

/// A descriptor set, compiled once however many worlds a test makes.
fn compiled(file: &'static str) -> Vec<u8> {
    static SETS: Mutex<BTreeMap<&str, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/contract");
    let mesh = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let compile = || {
        let mut compiler = protox::Compiler::new([own, mesh]).unwrap();
        compiler.include_imports(true).open_file(file).unwrap();
        compiler.encode_file_descriptor_set()
    };
    SETS.lock().unwrap().entry(file).or_insert_with(compile).clone()
}

fn identity(directory: &Path, name: &str) -> chassis::config::Identity {
    chassis::config::Identity {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
        trust_bundle: directory.join("ca.pem"),
        trust_domain: TRUST_DOMAIN.to_owned(),
    }
}

async fn start_upstream(directory: &Path, process: &Process) -> SocketAddr {
    let identity = Identity::load(&identity(directory, "svc-echo")).unwrap();
    identity.watch(&process.drain);
    let tls = identity.server(Clients::Only(vec![identity.spiffe_id("edge")]), &[b"h2"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let text = "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nedge_keys = \"\"\nlame_duck_ms = 0";
    let server: chassis::config::Server = toml::from_str(text).unwrap();
    let verifier = Verifier::load(&directory.join("txn.pem"), TRUST_DOMAIN).unwrap();
    let callers = chassis::serve::Callers { verifier, own: identity.spiffe_id("svc-echo").into() };
    let border = chassis::serve::Border { tls, callers };
    let Process { drain, health, metrics, .. } = process.clone();
    drain.clone().spawn("upstream", async move {
        chassis::serve::serve(upstream::routes(), listener, border, &server, &health, &metrics, &drain)
            .await
            .unwrap();
    });
    address
}

async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn config(
    directory: &Path,
    behind: SocketAddr,
    admin: SocketAddr,
    edit: impl FnOnce(String) -> String,
) -> Config {
    let at = directory.display();
    let text = format!(
        r#"
        [listener.public]
        listen = "127.0.0.1:0"
        certificate = "{at}/public.pem"
        key = "{at}/public.key"
        client_ca = "{at}/ca.pem"
        [listener.partner]
        listen = "127.0.0.1:0"
        certificate = "{at}/public.pem"
        key = "{at}/public.key"
        client_ca = "{at}/ca.pem"
        [[authn.partner]]
        id = "psp"
        uri = "urn:partner:partner"
        [listener.mesh]
        listen = "127.0.0.1:0"
        [admin]
        listen = "{admin}"
        [identity]
        certificate = "{at}/edge.pem"
        key = "{at}/edge.key"
        trust_bundle = "{at}/ca.pem"
        trust_domain = "{TRUST_DOMAIN}"
        [transaction_tokens]
        keys = "{at}/txn.key"
        [drain]
        lame_duck_ms = 0
        grace_ms = 10000
        [reload]
        watch_ms = 40
        [access_log]
        path = "{at}/access.log"
        [limits]
        message_bytes_max = 65536
        upload_bytes_max = 1048576
        [[authn.issuer]]
        issuer = "{ISSUER}"
        audiences = ["causeway"]
        algorithms = ["ES256"]
        jwks = {{ file = "{at}/jwks.json" }}
        [[descriptor_set]]
        path = "{at}/echo.binpb"
        upstream = "svc-echo"
        policy_source = "descriptor"
        [[descriptor_set]]
        path = "{at}/foreign.binpb"
        upstream = "svc-echo"
        [[method]]
        name = "foreign.Greeter/Hello"
        http = [{{ get = "/v1/hello/{{name}}" }}]
        policy = {{ allow = ["anonymous", "subject"], default_deadline_ms = 400 }}
        [[upstream]]
        name = "svc-echo"
        addresses = ["{behind}"]
        [[upstream]]
        name = "nowhere"
        addresses = ["127.0.0.1:1"]
        "#
    );
    let path: PathBuf = directory.join("edge.toml");
    std::fs::write(&path, edit(text)).unwrap();
    Config::load(&path).unwrap()
}
