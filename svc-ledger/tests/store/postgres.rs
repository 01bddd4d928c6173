//! A PostgreSQL of one test's own: TLS, passwords, a free port, a temporary directory; gone when dropped. Durable as in
//! production, because durability is what is tested.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chassis::config::SecretFile;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, Executor as _, PgConnection};
use svc_ledger::config;
use tempfile::TempDir;

const PASSWORD: &str = "not a secret";

/// A running server.
pub struct Postgres {
    directory: TempDir,
    binaries: PathBuf,
    port: u16,
}

impl Postgres {
    /// A server with the ledger's roles and an empty database.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { directory, binaries: binaries(), port };
        server.prepare();
        server.resume();
        let mut root = server.superuser("postgres").await;
        for statement in [
            "CREATE ROLE ledger_owner LOGIN PASSWORD 'not a secret'",
            "CREATE ROLE ledger LOGIN PASSWORD 'not a secret'",
            "CREATE DATABASE ledger OWNER ledger_owner",
        ] {
            root.execute(statement).await.unwrap();
        }
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn prepare(&self) {
        std::fs::set_permissions(self.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(self.path("pg")).unwrap();
        std::fs::write(self.path("password"), PASSWORD).unwrap();
        self.make_certificates();
        if is_root() {
            run(Command::new("chown")
                .args(["-R", "postgres"])
                .arg(self.path("pg"))
                .arg(self.path("server.key")));
        }
        run(self
            .as_postgres("initdb")
            .args(["--no-sync", "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"])
            .args([
                "--pwfile",
                self.path("password").to_str().unwrap(),
                "-D",
                self.path("pg").to_str().unwrap(),
            ]));
    }

    fn make_certificates(&self) {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &issuer).unwrap();
        std::fs::write(self.path("ca.pem"), ca_certificate.pem()).unwrap();
        std::fs::write(self.path("server.pem"), server.pem()).unwrap();
        std::fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(self.path("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Starts the server on the data it has, and waits until it answers.
    pub fn resume(&self) {
        let options = format!(
            "-p {} -h 127.0.0.1 -k '' -c ssl=on -c ssl_cert_file={} -c ssl_key_file={} -c max_connections=100",
            self.port,
            self.path("server.pem").display(),
            self.path("server.key").display(),
        );
        run(self.control().args(["start", "-w", "-t", "60", "-o", &options]));
    }

    /// Stops the server as a crash would: no checkpoint, no word to anyone.
    pub fn crash(&self) {
        run(self.control().args(["stop", "-w", "-m", "immediate"]));
    }

    fn control(&self) -> Command {
        let mut command = self.as_postgres("pg_ctl");
        command.arg("-D").arg(self.path("pg")).arg("-l").arg(self.path("pg").join("log"));
        command
    }

    fn as_postgres(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    }

    /// The configuration of a ledger on this server.
    pub fn config(&self) -> config::Store {
        let url = |role: &str| format!("postgres://{role}@127.0.0.1:{}/ledger", self.port);
        config::Store {
            url: url("ledger"),
            password_file: SecretFile::new(self.path("password")),
            ca: Some(self.path("ca.pem")),
            connections: 8,
            migrate_url: Some(url("ledger_owner")),
            migrate_password_file: Some(SecretFile::new(self.path("password"))),
            service_role: "ledger".to_owned(),
            queue_max: 4_000,
            batch_max: 2_000,
            timeout_ms: 5_000,
        }
    }

    /// Changes the password of the service's role, there and in the service's file.
    pub async fn change_password(&self, password: &str) {
        let mut root = self.superuser("postgres").await;
        let statement = sqlx::AssertSqlSafe(format!("ALTER ROLE ledger PASSWORD '{password}'"));
        root.execute(statement).await.unwrap();
        std::fs::write(self.path("password"), password).unwrap();
    }

    /// A connection that may do everything.
    pub async fn superuser(&self, database: &str) -> PgConnection {
        self.connect("postgres", database).await
    }

    /// A connection of a role.
    pub async fn connect(&self, role: &str, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(role)
            .password(PASSWORD)
            .database(database)
            .ssl_root_cert(self.path("ca.pem"))
            .ssl_mode(PgSslMode::VerifyFull);
        PgConnection::connect_with(&options).await.unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self
            .control()
            .args(["stop", "-w", "-m", "immediate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Where `postgres` is: on PATH, or where Debian puts it.
fn binaries() -> PathBuf {
    let found = Command::new("sh").args(["-c", "command -v initdb"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    if let Some(directory) = Path::new(found.trim()).parent().filter(|directory| directory.is_absolute()) {
        return directory.to_owned();
    }
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("no initdb on PATH, and no Debian package");
    versions.map(|version| version.unwrap().path().join("bin")).max().unwrap()
}

fn run(command: &mut Command) {
    // The server that pg_ctl leaves behind must not inherit a pipe, or reading it would never end.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
