//! A whole mesh, or a part of one: the stores, the token issuer, the four services and the edge, on this machine. `make run`
//! holds one on fixed ports in the repository's state folder; a test holds one on free ports in a folder that goes when it
//! goes. Any part can be killed, stopped and started by name while the others run.

use crate::config;
use crate::hosted::Hosted;
use crate::issuer::Issuer;
use crate::part::Part;
use crate::pki::Pki;
use crate::ports::Ports;
use crate::secrets::Secrets;
use crate::site::Site;
use crate::state::State;
use crate::stores::{dynamo, mongo, postgres, redis};
use crate::supervisor::{Launch, Supervisor, stop_leftovers};
use crate::{client, tools};
use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use toml::Table;

/// How long a part may take to stop before it is killed: the longest drain of a workload (25 s) and a store's last writes.
const STOP_LONGEST: Duration = Duration::from_secs(35);

/// What mesh to start.
pub struct Setup {
    /// The folder with the five binaries: `target/debug` or `target/release`.
    pub binaries: PathBuf,
    pub ports: Ports,
    /// What to start; whatever it needs besides must be there already.
    pub parts: BTreeSet<Part>,
    place: Place,
    overlays: BTreeMap<Part, Table>,
    found_at: BTreeMap<Part, Vec<u16>>,
}

enum Place {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Setup {
    /// Everything, on free ports, in a folder that is removed with the mesh.
    pub fn temporary(binaries: &Path) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("causeway-").tempdir().context("cannot make a folder")?;
        Ok(Self::new(binaries, Ports::free()?, Place::Temporary(folder)))
    }

    /// Everything, on the fixed ports, in a folder that outlives the mesh.
    #[must_use]
    pub fn kept(binaries: &Path, folder: &Path) -> Self {
        Self::new(binaries, Ports::fixed(), Place::Kept(folder.to_owned()))
    }

    fn new(binaries: &Path, ports: Ports, place: Place) -> Self {
        Self {
            binaries: binaries.to_owned(),
            ports,
            parts: Part::ALL.into_iter().collect(),
            place,
            overlays: BTreeMap::new(),
            found_at: BTreeMap::new(),
        }
    }

    /// Starts only these parts.
    #[must_use]
    pub fn only(mut self, parts: &[Part]) -> Self {
        self.parts = parts.iter().copied().collect();
        self
    }

    /// Lays TOML over a workload's generated configuration: tables are merged, and so are those of arrays (`[[upstream]]`) that
    /// have the same name; the others are appended; anything else is replaced.
    pub fn configure(mut self, part: Part, toml: &str) -> Result<Self> {
        let table =
            toml::from_str(toml).with_context(|| format!("the configuration laid over {part} is no TOML"))?;
        self.overlays.insert(part, table);
        Ok(self)
    }

    /// Has those who use a part look for it at these ports of this machine: at a proxy before it, or at several replicas. The edge
    /// looks so for the services, svc-ledger for the first port of PostgreSQL; nobody else does.
    #[must_use]
    pub fn found_at(mut self, part: Part, ports: &[u16]) -> Self {
        self.found_at.insert(part, ports.to_vec());
        self
    }
}

/// A running mesh. All of it is gone when this is dropped.
pub struct Mesh {
    // Fields are dropped in this order: what runs before the folder it runs in.
    hosted: Mutex<BTreeMap<Part, Hosted>>,
    site: Site,
    issuer: Arc<Issuer>,
    overlays: BTreeMap<Part, Table>,
    parts: BTreeSet<Part>,
    _folder: Option<TempDir>,
}

impl Mesh {
    /// Starts a mesh. Either all of it answers in the end, or nothing of it is left running.
    pub async fn start(setup: Setup) -> Result<Self> {
        let mesh = Self::prepare(setup)?;
        mesh.start_stores().await?;
        mesh.start_workloads().await?;
        Ok(mesh)
    }

    /// Everything but starting: takes the folder, stops what an earlier run left in it, checks the ports, makes secrets and
    /// certificates.
    pub fn prepare(setup: Setup) -> Result<Self> {
        let (root, folder) = match setup.place {
            Place::Temporary(folder) => (folder.path().to_owned(), Some(folder)),
            Place::Kept(root) => (root, None),
        };
        let state = State::open(&root)?;
        stop_leftovers(&state.run())?;
        state.rotate_logs()?;
        setup.ports.check_unused()?;
        for part in setup.parts.iter().filter(|part| part.is_workload()) {
            if !setup.binaries.join(part.name()).is_file() {
                bail!("there is no {part} in {}: build the workspace first", setup.binaries.display());
            }
        }
        let pki = Pki::load(&state)?;
        let issuer = Issuer::load(&state, setup.ports.issuer, &pki)?;
        let site = Site {
            secrets: Secrets::load(&state)?,
            children: Supervisor::new(&state)?,
            ports: setup.ports,
            binaries: setup.binaries,
            pki,
            state,
            found_at: setup.found_at,
        };
        Ok(Self {
            hosted: Mutex::default(),
            site,
            issuer,
            overlays: setup.overlays,
            parts: setup.parts,
            _folder: folder,
        })
    }

    /// Starts the wanted stores and the issuer, side by side.
    pub async fn start_stores(&self) -> Result<()> {
        self.start_all(|part| !part.is_workload()).await
    }

    /// Starts the wanted services, side by side, and then the edge, whose first look at them then finds them well. A service
    /// needs no edge to be ready, only to call another.
    pub async fn start_workloads(&self) -> Result<()> {
        self.start_all(|part| part.is_workload() && part != Part::Edge).await?;
        self.start_all(|part| part == Part::Edge).await
    }

    async fn start_all(&self, which: impl Fn(Part) -> bool) -> Result<()> {
        let parts = self.parts.iter().copied().filter(|part| which(*part));
        try_join_all(parts.map(|part| self.start_part(part))).await.map(drop)
    }

    /// Starts a part that does not run, and waits until it is ready.
    pub async fn start_part(&self, part: Part) -> Result<()> {
        match part {
            Part::Postgres => postgres::start(&self.site).await,
            Part::Redis => redis::start(&self.site).await,
            Part::Mongo => mongo::start(&self.site).await,
            Part::Dynamo => self.host(part, dynamo::start(&self.site)?),
            Part::Issuer => self.host(part, self.issuer.serve(self.site.ports.issuer)?),
            Part::Edge | Part::Ledger | Part::Accounts | Part::Cache | Part::Docs => {
                self.start_workload(part).await
            }
        }
    }

    fn host(&self, part: Part, hosted: Hosted) -> Result<()> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).insert(part, hosted);
        Ok(())
    }

    async fn start_workload(&self, part: Part) -> Result<()> {
        let config = config::write(&self.site, part, &self.overlays)?;
        let launch = Launch {
            program: self.site.binaries.join(part.name()),
            arguments: vec!["--config".into(), config.into()],
            folder: self.site.state.root().to_owned(),
            user: None,
            stop: Signal::SIGTERM,
            abort: Signal::SIGKILL,
        };
        let admin = self.admin_port(part)?;
        let ready = async || client::plain_get(admin, "/ready").await.is_ok_and(|status| status.is_success());
        self.site.start(part, launch, ready).await
    }

    /// Ends a part as kill -9 does, and returns when it is gone.
    pub async fn kill(&self, part: Part) -> Result<()> {
        self.unhost(part);
        self.site.children.kill(part);
        self.gone(part, Duration::from_secs(5)).await
    }

    /// Asks a part to stop, and returns when it has: drained and exited. One that takes too long is killed, which is an error.
    pub async fn stop(&self, part: Part) -> Result<()> {
        self.unhost(part);
        self.site.children.ask_to_stop(part);
        let in_time = if part == Part::Mongo {
            mongo::stop(&self.site).await
        } else {
            self.gone(part, STOP_LONGEST).await
        };
        if in_time.is_err() {
            self.kill(part).await?;
        }
        in_time
    }

    /// Stops a part and starts it again.
    pub async fn restart(&self, part: Part) -> Result<()> {
        self.stop(part).await?;
        self.start_part(part).await
    }

    /// Stops everything in order: the edge, the services, the stores.
    pub async fn stop_all(&self) -> Result<()> {
        self.stop(Part::Edge).await?;
        let services = Part::WORKLOADS.into_iter().filter(|part| *part != Part::Edge);
        try_join_all(services.map(|part| self.stop(part))).await?;
        try_join_all(Part::STORES.into_iter().map(|part| self.stop(part))).await?;
        self.unhost(Part::Dynamo);
        self.unhost(Part::Issuer);
        Ok(())
    }

    /// A process that has ended without being asked to, if there is one.
    #[must_use]
    pub fn ended(&self) -> Option<(Part, ExitStatus)> {
        self.site.children.ended()
    }

    async fn gone(&self, part: Part, longest: Duration) -> Result<()> {
        if self.site.children.wait(part, longest).await {
            return Ok(());
        }
        bail!("{part} does not stop within {} s", longest.as_secs())
    }

    fn unhost(&self, part: Part) {
        drop(self.hosted.lock().unwrap_or_else(PoisonError::into_inner).remove(&part));
    }

    /// The pid of a running process.
    #[must_use]
    pub fn pid(&self, part: Part) -> Option<u32> {
        self.site.children.pid(part)
    }

    /// All that a process has written so far, over all its starts.
    pub fn log(&self, part: Part) -> Result<String> {
        let path = self.log_path(part);
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    #[must_use]
    pub fn log_path(&self, part: Part) -> PathBuf {
        self.site.state.log(part.name())
    }

    /// Where the configuration that a workload was last started with lies.
    #[must_use]
    pub fn config_path(&self, part: Part) -> PathBuf {
        self.site.state.config(&format!("{part}.toml"))
    }

    /// The folder of PostgreSQL's files, which is there and its own from here on.
    pub fn postgres_folder(&self) -> Result<PathBuf> {
        postgres::folder(&self.site)
    }

    /// Where a workload answers `/live`, `/ready` and `/metrics`.
    pub fn admin_port(&self, part: Part) -> Result<u16> {
        let ports = &self.site.ports;
        match part {
            Part::Edge => Ok(ports.edge_admin),
            Part::Ledger => Ok(ports.ledger_admin),
            Part::Accounts => Ok(ports.accounts_admin),
            Part::Cache => Ok(ports.cache_admin),
            Part::Docs => Ok(ports.docs_admin),
            Part::Postgres | Part::Redis | Part::Mongo | Part::Dynamo | Part::Issuer => {
                bail!("{part} has no admin listener")
            }
        }
    }

    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.site.ports
    }

    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.site.pki
    }

    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.site.secrets
    }

    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.site.state.root()
    }

    /// `https://localhost:<port>` of the public listener.
    #[must_use]
    pub fn public_url(&self) -> String {
        format!("https://localhost:{}", self.site.ports.public)
    }
}

/// Wipes a state folder: refuses while a mesh runs from it, stops what a killed one left.
pub fn reset(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let state = State::open(folder)?;
    stop_leftovers(&state.run())?;
    postgres::remove(state.root())?;
    std::fs::remove_dir_all(state.root()).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Where the state of `make run` is.
#[must_use]
pub fn state_folder() -> PathBuf {
    tools::repository().join(".state/mesh")
}
