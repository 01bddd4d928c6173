//! PostgreSQL for svc-ledger: TLS and SCRAM only, one database, its owner and the service's role. The cluster is made without
//! ever listening, so there is no moment at which it could be reached without a password.

use crate::part::Part;
use crate::secrets::Secrets;
use crate::site::Site;
use crate::state;
use crate::supervisor::Launch;
use crate::tools;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start is repeated while the backends of a killed postmaster still hold its memory. They notice within a second.
const ORPHANS_LONGEST: Duration = Duration::from_secs(10);
const ORPHANS: &str = "pre-existing shared memory block";

/// Only the database of svc-ledger, for its owner and for the service, over TLS and with a password. There is no way in for the
/// superuser.
const ACCESS: &str = "hostssl ledger ledger_owner,ledger 127.0.0.1/32 scram-sha-256\n";

/// Who PostgreSQL runs as, and where its files are.
struct Cluster {
    home: PathBuf,
    user: Option<User>,
}

pub(crate) async fn start(site: &Site) -> Result<()> {
    let server = tools::require("postgres")?;
    let cluster = Cluster::of(site)?;
    if !cluster.data().exists() {
        cluster.create(&server, &site.secrets)?;
    }
    cluster.write("pg_hba.conf", ACCESS.as_bytes())?;
    cluster.write("server.pem", &read(&site.pki.store.certificate)?)?;
    cluster.write("server.key", &read(&site.pki.store.key)?)?;

    let deadline = Instant::now() + ORPHANS_LONGEST;
    loop {
        let launch = cluster.launch(server.clone(), site.ports.postgres);
        let ready = async || cluster.is_ready(site.children.pid(Part::Postgres));
        match site.start(Part::Postgres, launch, ready).await {
            Err(error) if error.to_string().contains(ORPHANS) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}

/// The folder of the cluster's files.
pub(crate) fn folder(site: &Site) -> Result<PathBuf> {
    Cluster::of(site).map(|cluster| cluster.home)
}

/// Removes what lies outside the state folder.
pub(crate) fn remove(state_root: &Path) -> Result<()> {
    let outside = outside(state_root);
    if outside.exists() {
        fs::remove_dir_all(&outside).with_context(|| format!("cannot remove {}", outside.display()))?;
    }
    Ok(())
}

impl Cluster {
    /// PostgreSQL refuses to run as root; under root it runs as the user that its package made, who must be able to reach its
    /// files. A state folder below somebody's closed home is out of that user's reach, so the cluster goes elsewhere then.
    fn of(site: &Site) -> Result<Self> {
        let mut home = site.state.store("postgres");
        if !geteuid().is_root() {
            state::create(&home, 0o700)?;
            return Ok(Self { home, user: None });
        }
        let user = User::from_name("postgres")?
            .context("PostgreSQL does not run as root and there is no user postgres: install Debian's package postgresql")?;
        let cluster = |home: PathBuf| Self { home, user: Some(user.clone()) };
        if !cluster(home.clone()).can_reach(site.state.root())? {
            home = outside(site.state.root());
        }
        state::create(&home, 0o700)?;
        let cluster = cluster(home);
        cluster.own(&cluster.home)?;
        Ok(cluster)
    }

    fn can_reach(&self, folder: &Path) -> Result<bool> {
        let status = self.command(Path::new("/usr/bin/test")).arg("-x").arg(folder).status();
        Ok(status.context("cannot run setpriv")?.success())
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Makes the cluster, its roles and its database aside, and gives it its name when all of it is there.
    fn create(&self, server: &Path, secrets: &Secrets) -> Result<()> {
        let new = self.home.join("data.new");
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
        }
        let initdb = server.with_file_name("initdb");
        let initdb = if initdb.exists() { initdb } else { tools::require("initdb")? };
        let mut command = self.command(&initdb);
        command.arg("-D").arg(&new);
        // No sync: the files are worth nothing until the rename below, and the server syncs what it writes.
        command.args(["--no-sync", "--no-instructions", "--data-checksums", "--username=postgres"]);
        command.args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth=reject"]);
        self.run(command, "", "initdb")?;

        // A single-user server reads commands, one a line, as superuser and without listening.
        let mut command = self.command(server);
        command
            .args(["--single", "-c", "exit_on_error=on", "-c", "log_statement=none", "-D"])
            .arg(&new)
            .arg("postgres");
        let roles = format!(
            "CREATE ROLE ledger_owner LOGIN PASSWORD '{owner}';\n\
             CREATE ROLE ledger LOGIN PASSWORD '{service}';\n\
             CREATE DATABASE ledger OWNER ledger_owner;\n",
            owner = secrets.postgres_owner.expose(),
            service = secrets.postgres.expose(),
        );
        self.run(command, &roles, "postgres --single")?;
        fs::rename(&new, self.data()).context("cannot name the new PostgreSQL cluster")
    }

    /// Runs a program to its end; its last line is the reason when it fails.
    fn run(&self, mut command: Command, input: &str, name: &str) -> Result<()> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that died before it read everything has its own reason to tell.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let reason = errors.lines().find(|line| line.contains("error:") || line.contains("FATAL"));
            bail!("{name} failed: {}", reason.unwrap_or(errors.trim()));
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={}", user.name), format!("--regid={}", user.name)]);
                command.args(["--init-groups", "--"]).arg(program);
                command
            }
        };
        command.current_dir("/");
        command
    }

    fn launch(&self, program: PathBuf, port: u16) -> Launch {
        let settings = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("hba_file={}", self.home.join("pg_hba.conf").display()),
            "ssl=on".to_owned(),
            "ssl_min_protocol_version=TLSv1.2".to_owned(),
            format!("ssl_cert_file={}", self.home.join("server.pem").display()),
            format!("ssl_key_file={}", self.home.join("server.key").display()),
            "password_encryption=scram-sha-256".to_owned(),
        ];
        let mut arguments = vec![OsString::from("-D"), self.data().into()];
        arguments.extend(settings.into_iter().flat_map(|setting| [OsString::from("-c"), setting.into()]));
        Launch {
            program,
            arguments,
            folder: "/".into(),
            user: self.user.as_ref().map(|user| user.name.clone()),
            // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients. SIGQUIT is its immediate one.
            stop: Signal::SIGINT,
            abort: Signal::SIGQUIT,
        }
    }

    /// The postmaster writes its state into the last line of its pid file; pg_ctl waits for the same. The first line tells
    /// whether the file is this process's or that of one that was killed.
    fn is_ready(&self, pid: Option<u32>) -> bool {
        let Ok(text) = fs::read_to_string(self.data().join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        let ours = lines.next().and_then(|line| line.trim().parse().ok()) == pid;
        ours && lines.last().is_some_and(|line| line.trim() == "ready")
    }

    /// Writes a file that only PostgreSQL may read.
    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.home.join(name);
        state::write_private(&path, content)?;
        self.own(&path)
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("cannot give {} to {}", path.display(), user.name))
    }
}

/// The cluster's place when the state folder is out of PostgreSQL's reach; the state folder's path names it.
fn outside(state_root: &Path) -> PathBuf {
    let name = Sha256::digest(state_root.as_os_str().as_encoded_bytes());
    let name: String = name.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Path::new("/var/lib/causeway-dev").join(name)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
