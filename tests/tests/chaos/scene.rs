//! The mesh that is hurt: svc-ledger reaches PostgreSQL through a proxy, and the edge looks for two replicas of svc-ledger, of which
//! the second runs when a fault wants it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use dev::{Mesh, Part, Setup};
use e2e::World;
use e2e::world::{binaries, eventually};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::proxy::Proxy;

/// See the module.
pub struct Scene {
    pub world: World,
    pub proxy: Proxy,
    replica: [u16; 2],
}

/// How long anything may take to be ready again.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

impl Scene {
    /// Starts it; `before` sees the mesh before its stores start.
    pub async fn start(setup: Setup, before: impl FnOnce(&Mesh)) -> anyhow::Result<Self> {
        let [front, listen, admin] = setup.ports.spare;
        let (postgres, ledger) = (setup.ports.postgres, setup.ports.ledger);
        let proxy = Proxy::start(front, postgres).await;
        let setup = setup.found_at(Part::Postgres, &[front]).found_at(Part::Ledger, &[ledger, listen]);
        let mesh = Mesh::prepare(setup)?;
        before(&mesh);
        mesh.start_stores().await?;
        mesh.start_workloads().await?;
        let world = World::over(mesh);
        Ok(Self { world, proxy, replica: [listen, admin] })
    }

    /// Past the proxy, as the service's role.
    pub fn database(&self) -> PgConnectOptions {
        let password = std::fs::read_to_string(&self.world.mesh.secrets().postgres.path).unwrap();
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.world.mesh.ports().postgres)
            .username("ledger")
            .database("ledger")
            .password(password.trim_end())
            .ssl_mode(PgSslMode::Require)
    }

    pub fn pid(&self, part: Part) -> Pid {
        Pid::from_raw(i32::try_from(self.world.mesh.pid(part).unwrap()).unwrap())
    }

    /// A process and all its children, as they are.
    fn family(&self, part: Part) -> Vec<Pid> {
        let parent = self.pid(part);
        let mut family = vec![parent];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
            if of == Some(parent.as_raw()) {
                family.push(Pid::from_raw(pid));
            }
        }
        family
    }

    /// Stops a process and its children where they are, for a time.
    pub async fn freeze(&self, part: Part, time: Duration) {
        let family = self.family(part);
        for pid in &family {
            let _ = kill(*pid, Signal::SIGSTOP);
        }
        tokio::time::sleep(time).await;
        for pid in &family {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }

    /// Ends a process by SIGKILL, and starts it again.
    pub async fn kill_and_start(&self, part: Part) {
        if part == Part::Postgres {
            // The mesh's own way to kill it is its immediate stop; this is the postmaster shot dead.
            kill(self.pid(part), Signal::SIGKILL).unwrap();
        }
        self.world.mesh.kill(part).await.unwrap();
        self.world.mesh.start_part(part).await.unwrap();
    }

    /// As `pg_ctl stop -m immediate`, and a start.
    pub async fn stop_immediately_and_start(&self) {
        self.world.mesh.kill(Part::Postgres).await.unwrap();
        self.world.mesh.start_part(Part::Postgres).await.unwrap();
    }

    /// A second svc-ledger with the first one's configuration, on ports of its own.
    pub async fn replica(&self) -> Replica {
        let config = self.world.mesh.config_path(Part::Ledger);
        let mut table: toml::Table = std::fs::read_to_string(&config).unwrap().parse().unwrap();
        let [listen, admin] = self.replica;
        let server = table["server"].as_table_mut().unwrap();
        server.insert("listen".to_owned(), format!("127.0.0.1:{listen}").into());
        server.insert("admin".to_owned(), format!("127.0.0.1:{admin}").into());
        let own: PathBuf = config.with_file_name("svc-ledger.replica.toml");
        std::fs::write(&own, table.to_string()).unwrap();
        let log = std::fs::File::create(own.with_extension("log")).unwrap();
        let child = Command::new(binaries().join("svc-ledger"))
            .arg("--config")
            .arg(&own)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let ready = || async move { is_ready(admin).await };
        eventually("the second replica is ready", READY_WITHIN, ready).await;
        Replica(child)
    }
}

/// What the kubelet asks.
async fn is_ready(admin: u16) -> bool {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let uri: http::Uri = format!("http://127.0.0.1:{admin}/ready").parse().unwrap();
    client.get(uri).await.is_ok_and(|answer| answer.status().is_success())
}

/// A running second replica. It is killed when this is dropped.
pub struct Replica(Child);

impl Replica {
    /// As kill -9 does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
