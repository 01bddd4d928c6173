//! A Redis for one test, with TLS and an ACL user that may do no more than the documentation of the configuration says: on a free
//! port, gone with the test.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chassis::call::{Call, Caller, Principal};
use svc_cache::config::StoreConfig;
use svc_cache::store::Store;
use tonic::Request;

pub struct Redis {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", &ca_certificate.pem());
        write("redis.pem", &certificate.pem());
        write("redis.key", &key.serialize_pem());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { directory, port, process: None };
        redis.run("correct-horse");
        redis
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run(&mut self, password: &str) {
        std::fs::write(self.path("password"), format!("{password}\n")).unwrap();
        let path = |name: &str| self.path(name).display().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--bind", "127.0.0.1", "--tls-auth-clients", "no"]);
        command.args(["--save", "", "--appendonly", "no", "--tls-port"]).arg(self.port.to_string());
        command.args([
            "--tls-cert-file".to_owned(),
            path("redis.pem"),
            "--tls-key-file".to_owned(),
            path("redis.key"),
        ]);
        command.args(["--tls-ca-cert-file".to_owned(), path("ca.pem"), "--dir".to_owned(), path("")]);
        command.args(["--user", "default", "off", "--user", "causeway", "on", &format!(">{password}")]);
        command.args(["~cache:*", "-@all", "+@hash", "+@sortedset", "+@keyspace", "+@scripting"]);
        command.args(["+@connection", "+get", "+set", "+time", "-@dangerous"]);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn config(&self) -> StoreConfig {
        let file = |name: &str| Path::to_owned(&self.path(name));
        StoreConfig {
            url: format!("rediss://causeway@127.0.0.1:{}/0", self.port),
            password_file: chassis::config::SecretFile::new(file("password")),
            ca: file("ca.pem"),
            timeout_ms: 1000,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The cache with its monitor running, and what the monitor last said.
pub struct Fixture {
    pub redis: Redis,
    pub store: Store,
    pub up: Arc<AtomicBool>,
    pub drain: chassis::Drain,
}

impl Fixture {
    pub async fn start() -> Self {
        // The chassis does this for a process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redis = Redis::start();
        let (store, monitor) = Store::open(&redis.config()).unwrap();
        let up = Arc::new(AtomicBool::new(false));
        let told = up.clone();
        let drain = chassis::Drain::default();
        drain.spawn("monitor", monitor.run(move |up| told.store(up, Ordering::SeqCst)));
        let fixture = Self { redis, store, up, drain };
        fixture.eventually(true).await;
        fixture
    }

    /// Waits until the monitor says so, for at most 10 s.
    pub async fn eventually(&self, up: bool) {
        let begun = Instant::now();
        while self.up.load(Ordering::SeqCst) != up {
            assert!(begun.elapsed() < Duration::from_secs(10), "redis never became {up}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn request<T>(message: T, service: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Call {
        caller: Arc::new(Caller { principal: Principal::Service, service: service.map(str::to_owned) }),
        deadline: chassis::Deadline::after(Duration::from_secs(5)),
        transaction_id: "t".into(),
        hops: 1,
        trace: chassis::trace::TraceContext::root(),
        token: None,
    });
    request
}
