//! A MongoDB server for one test: TLS and SCRAM on, a fresh directory, a free port, stopped at the end. It is `mongod` if there
//! is one on PATH, as a replica set of one because transactions need one; else secantusd from the workspace's virtual environment.
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::doc;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use svc_docs::config::StoreConfig;

const PASSWORD: &str = "correct-horse";
const REPLICA_SET: &str = "test";

pub struct Server {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts it without authentication to make the user, then as it stays.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        certificates(directory.path());
        std::fs::write(directory.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        // What the members of a set know one another by; mongod wants it private.
        let key = directory.path().join("set.key");
        std::fs::write(&key, "known-to-the-set-alone").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { directory, port, process: None };
        server.run(false);
        let open = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let admin = Client::with_uri_str(open).await.unwrap().database("admin");
        if let Executable::Mongod(_) = executable() {
            let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
            let set = doc! { "replSetInitiate": { "_id": REPLICA_SET, "members": [member] } };
            admin.run_command(set).await.unwrap();
        }
        is_primary(&admin).await;
        let user =
            doc! { "createUser": "docs", "pwd": PASSWORD, "roles": [{ "role": "readWrite", "db": "docs" }] };
        admin.run_command(user).await.unwrap();
        server.stop();
        server.run(true);
        is_primary(&server.database().await).await;
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> StoreConfig {
        StoreConfig {
            url: format!("mongodb://docs@127.0.0.1:{}/?directConnection=true", self.port),
            database: "docs".to_owned(),
            password_file: chassis::config::SecretFile::new(self.path("password")),
            ca: self.path("ca.pem"),
            timeout_ms: 2_000,
        }
    }

    /// The database as nobody but a test sees it.
    pub async fn database(&self) -> mongodb::Database {
        let ca = self.path("ca.pem").display().to_string();
        let port = self.port;
        let url = format!(
            "mongodb://docs:{PASSWORD}@127.0.0.1:{port}/?directConnection=true&tls=true&tlsCAFile={ca}"
        );
        Client::with_uri_str(url).await.unwrap().database("docs")
    }

    pub fn run(&mut self, secured: bool) {
        let path = |name: &str| self.path(name).display().to_string();
        let port = self.port.to_string();
        let (program, mut arguments) = match executable() {
            Executable::Mongod(program) => {
                let arguments = ["--bind_ip", "127.0.0.1", "--port", &port, "--dbpath", &path("data")];
                let arguments = arguments.into_iter().chain(["--replSet", REPLICA_SET]).map(str::to_owned);
                let arguments = arguments.collect::<Vec<_>>();
                let tls = ["--auth", "--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"];
                let files = [
                    "--keyFile".to_owned(),
                    path("set.key"),
                    "--tlsCertificateKeyFile".to_owned(),
                    path("both.pem"),
                    "--tlsCAFile".to_owned(),
                    path("ca.pem"),
                ];
                (program, (arguments, tls.map(str::to_owned).into_iter().chain(files).collect::<Vec<_>>()))
            }
            Executable::Secantusd(program) => {
                let arguments = [
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &port,
                    "--storage-path",
                    &path("data"),
                    "--sync-on-commit",
                ]
                .map(str::to_owned);
                let tls =
                    ["--auth", "--tls-cert-file", &path("server.pem"), "--tls-key-file", &path("server.key")];
                (program, (arguments.to_vec(), tls.map(str::to_owned).to_vec()))
            }
        };
        if secured {
            arguments.0.append(&mut arguments.1);
        }
        let mut command = Command::new(program);
        command
            .args(arguments.0)
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the server never listened");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

/// Waits until the server takes writes.
async fn is_primary(database: &mongodb::Database) {
    let begun = Instant::now();
    loop {
        let hello = database.run_command(doc! { "hello": 1 }).await.unwrap();
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the server never became primary");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

enum Executable {
    Mongod(PathBuf),
    Secantusd(PathBuf),
}

#[allow(clippy::disallowed_methods, reason = "a test has no configuration file to read paths from")]
fn executable() -> Executable {
    let path = std::env::var("PATH").unwrap_or_default();
    if let Some(mongod) =
        std::env::split_paths(&path).map(|directory| directory.join("mongod")).find(|file| file.exists())
    {
        return Executable::Mongod(mongod);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.state");
    let state = std::env::var("CAUSEWAY_STATE").map_or(workspace, PathBuf::from);
    let secantusd = state.join("venv/bin/secantusd-py");
    assert!(secantusd.exists(), "neither mongod nor {} is there: run `make setup`", secantusd.display());
    Executable::Secantusd(secantusd)
}

/// One CA that signs the server's certificate and a workload's, which the edge channel wants before it dials anybody.
fn certificates(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(directory.join("ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, key);
    let issue = |name: &str, dns: &str, uri: Option<&str>| {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        leaf.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
        std::fs::write(directory.join(format!("{name}.pem")), &certificate).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        format!("{certificate}{}", key.serialize_pem())
    };
    std::fs::write(directory.join("both.pem"), issue("server", "127.0.0.1", None)).unwrap();
    issue("workload", "svc-docs.causeway.test", Some("spiffe://causeway.test/svc-docs"));
}
