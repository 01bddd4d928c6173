//! A PostgreSQL of the benchmark's own, for its baselines and for the ledger alike: one cluster with data checksums that commits
//! durably, TLS for the ledger, a Unix socket for pgbench, and what its processes have used so far. Its clock can be moved
//! (`faketime`), so that a load of minutes can be booked over years.

use std::io::{Seek as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use svc_ledger::config;
use tempfile::TempDir;

/// Of roles that exist for the length of a benchmark, on loopback.
const PASSWORD: &str = "not a secret";

/// What differs from PostgreSQL's own defaults: memory, connections, and checkpoints that come when the benchmark asks for them
/// instead of in the middle of some row. Nothing of what makes a commit durable.
const SETTINGS: [&str; 7] = [
    "shared_buffers=2GB",
    "max_connections=200",
    "max_wal_size=16GB",
    "checkpoint_timeout=30min",
    "wal_compression=off",
    "ssl=on",
    "listen_addresses=127.0.0.1",
];

/// What must be on, or the figures mean nothing.
const DURABLE: [&str; 4] = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"];

/// How long the server may take to start or to stop.
const LONGEST: Duration = Duration::from_secs(60);

/// Which clock the server reads.
pub enum Clock {
    /// The machine's.
    Real,
    /// The machine's and the offset in this library's file.
    Moved(Moved),
}

/// A clock that can be moved ahead.
pub struct Moved {
    /// `libfaketime.so.1`.
    pub library: PathBuf,
    /// Where the clock stands when the server starts, in seconds from now.
    pub offset_s: i64,
}

/// A running server; gone, and its files with it, when this is dropped.
pub struct Postgres {
    process: Child,
    folder: TempDir,
    port: u16,
}

/// What a row has used of the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time of all its processes, those that ended included.
    pub cpu: Duration,
    /// Bytes of write-ahead log.
    pub wal: u64,
}

impl Used {
    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), wal: self.wal - before.wal }
    }
}

impl Postgres {
    /// A new cluster with the ledger's roles; `settings` come on top of the benchmark's.
    pub async fn start(clock: &Clock, settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("causeway-bench-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        initialise(folder.path());
        let process = launch(folder.path(), port, clock, settings);
        let server = Self { process, folder, port };
        let mut root = server.answers().await;
        for setting in DURABLE {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(setting)
                .fetch_one(&mut root)
                .await
                .unwrap();
            assert_eq!(value, "on", "{setting}");
        }
        for role in ["ledger_owner", "ledger"] {
            let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'");
            root.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
        }
        server
    }

    async fn answers(&self) -> PgConnection {
        let began = Instant::now();
        loop {
            match self.root("postgres").await {
                Ok(root) => return root,
                Err(error) => {
                    assert!(began.elapsed() < LONGEST, "{error}: {}", self.log());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Makes a database; the ledger's belong to its owner role.
    pub async fn create_database(&self, name: &str) {
        let mut root = self.superuser("postgres").await;
        let create = format!("CREATE DATABASE {name} OWNER ledger_owner");
        root.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    }

    /// A connection that may do everything, by the socket.
    pub async fn superuser(&self, database: &str) -> PgConnection {
        self.root(database).await.unwrap()
    }

    async fn root(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.socket())
            .port(self.port)
            .username("postgres")
            .database(database)
            .disable_statement_logging();
        PgConnection::connect_with(&options).await
    }

    /// The folder of the socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("pg")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder whose disk all of this is on.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration of a ledger in a database of this server: as in production, by TLS with the name checked.
    pub fn config(&self, database: &str) -> config::Store {
        let store = format!(
            "url = 'postgres://ledger@127.0.0.1:{port}/{database}'\n\
             migrate_url = 'postgres://ledger_owner@127.0.0.1:{port}/{database}'\n\
             password_file = '{password}'\nmigrate_password_file = '{password}'\nca = '{ca}'\n",
            port = self.port,
            password = self.folder.path().join("password").display(),
            ca = self.folder.path().join("ca.pem").display(),
        );
        toml::from_str(&store).unwrap()
    }

    /// How long it takes to have 8 KiB on the disk that its files are on, in microseconds: the mean of a hundred.
    pub fn fdatasync_us(&self) -> f64 {
        let mut file = tempfile::tempfile_in(self.folder.path()).unwrap();
        let page = [1; 8192];
        let began = Instant::now();
        for _ in 0..100 {
            file.rewind().unwrap();
            file.write_all(&page).unwrap();
            file.sync_data().unwrap();
        }
        began.elapsed().as_secs_f64() * 1e6 / 100.0
    }

    /// Moves the clock of a server that was started with one that can be moved.
    pub fn move_clock(&self, offset_s: i64) {
        write_offset(self.folder.path(), offset_s);
    }

    /// What the server has used so far.
    pub async fn used(&self, root: &mut PgConnection) -> Used {
        let wal: i64 = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
            .fetch_one(root)
            .await
            .unwrap();
        Used { cpu: self.cpu(), wal: wal.unsigned_abs() }
    }

    /// The postmaster reaps its children, so what those that ended have used stands with its own.
    fn cpu(&self) -> Duration {
        let postmaster = self.process.id();
        let mut ticks = stat(postmaster).map_or(0, |stat| stat.own + stat.reaped);
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(child) = stat(pid).filter(|stat| stat.parent == postmaster) {
                ticks += child.own;
            }
        }
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Nobody will read what it wrote: no last checkpoint.
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGQUIT);
        let _ = self.process.wait();
        // What libfaketime has left.
        for name in ["faketime_shm", "sem.faketime_sem"] {
            let _ = std::fs::remove_file(format!("/dev/shm/{name}_{}", self.process.id()));
        }
    }
}

/// The processor time of a process in ticks of 10 ms (proc(5), `/proc/<pid>/stat`, fields 4 and 14 to 17).
struct Stat {
    parent: u32,
    own: u64,
    reaped: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, a parenthesis too.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |places: [usize; 2]| places.iter().map(|place| fields[*place].parse::<u64>().unwrap()).sum();
    Some(Stat { parent: fields[1].parse().ok()?, own: ticks([11, 12]), reaped: ticks([13, 14]) })
}

fn initialise(folder: &Path) {
    std::fs::create_dir(folder.join("pg")).unwrap();
    std::fs::write(folder.join("password"), PASSWORD).unwrap();
    make_certificates(folder);
    if geteuid().is_root() {
        run(Command::new("chown").args(["-R", "postgres"]).arg(folder));
    }
    let data = folder.join("pg/data");
    run(server(folder, "initdb")
        .args(["--no-sync", "--data-checksums", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-D"])
        .arg(&data));
    // The socket lies in a folder that only the server's user and root can enter.
    let access = "local all postgres trust\nhostssl all ledger_owner,ledger 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(data.join("pg_hba.conf"), access).unwrap();
    std::fs::set_permissions(folder.join("pg"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

fn make_certificates(folder: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(folder.join("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn launch(folder: &Path, port: u16, clock: &Clock, settings: &[&str]) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = match clock {
        Clock::Real => server(folder, "postgres"),
        Clock::Moved(moved) => {
            write_offset(folder, moved.offset_s);
            clocked(folder, &moved.library)
        }
    };
    command.arg("-D").arg(folder.join("pg/data")).arg("-p").arg(port.to_string());
    let files = [
        format!("unix_socket_directories={}", folder.join("pg").display()),
        format!("ssl_cert_file={}", folder.join("server.pem").display()),
        format!("ssl_key_file={}", folder.join("server.key").display()),
    ];
    for setting in
        SETTINGS.iter().copied().chain(files.iter().map(String::as_str)).chain(settings.iter().copied())
    {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// The server with a clock that can be moved. The library is loaded by `env`, which already runs as the server's user, because what
/// it shares between processes belongs to whoever loads it first.
fn clocked(folder: &Path, library: &Path) -> Command {
    let mut command = server(folder, "env");
    command
        .arg(format!("LD_PRELOAD={}", library.display()))
        .arg(format!("FAKETIME_TIMESTAMP_FILE={}", offset_file(folder).display()))
        // Seconds for which a process does not look into the file again.
        .args(["FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"])
        .arg(find("postgres"));
    command
}

fn offset_file(folder: &Path) -> PathBuf {
    folder.join("offset")
}

fn write_offset(folder: &Path, offset_s: i64) {
    let new = folder.join("offset.new");
    std::fs::write(&new, format!("{offset_s:+}\n")).unwrap();
    std::fs::rename(new, offset_file(folder)).unwrap();
}

/// A program of PostgreSQL's, as the user it runs as, that ends with this process.
pub fn server(folder: &Path, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg("--").arg(find(program)).current_dir(folder);
    command
}

/// Where a program is: on PATH, or where Debian puts it.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let mut places = std::env::split_paths(&path).chain(debian).map(|folder| folder.join(program));
    places.find(|file| file.exists()).unwrap_or_else(|| panic!("no {program}: run scripts/bootstrap"))
}

pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
