//! The child processes of a mesh: started each in a process group of its own, so that Ctrl-C on a terminal reaches only this
//! process, which then stops them in order. A child outlives this process in no case: the kernel signals it when its parent
//! dies, and a record on disk lets the next run find what is left.
//!
//! Nothing here knows what the children are for.

mod record;
mod spawner;

use crate::part::Part;
use crate::state::State;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
pub(crate) use record::stop_leftovers;
use spawner::Spawner;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a process is looked at while it is waited for: well below what a person notices.
const POLL: Duration = Duration::from_millis(10);

/// How to start a process, and how to ask it to stop.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub folder: PathBuf,
    /// The user to run as, when this process is root and the program refuses to be.
    pub user: Option<String>,
    /// The signal that makes it finish its work and exit.
    pub stop: Signal,
    /// The signal that makes it drop everything, its own children included, at once.
    pub abort: Signal,
}

/// The children that run, by name.
pub struct Supervisor {
    children: Mutex<BTreeMap<Part, Running>>,
    spawner: Spawner,
    records: PathBuf,
}

struct Running {
    child: Child,
    launch: Launch,
    phase: Phase,
}

/// Whether the end of a process is news.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Somebody waits for it to be ready and will tell why it is not.
    Starting,
    Up,
    /// Asked to stop, or killed.
    Stopping,
}

impl Supervisor {
    pub fn new(state: &State) -> Result<Self> {
        Ok(Self { children: Mutex::default(), spawner: Spawner::start()?, records: state.run() })
    }

    /// Starts a process with its output appended to `log`.
    pub fn start(&self, part: Part, launch: Launch, log: &Path) -> Result<()> {
        let mut children = self.children();
        if children.contains_key(&part) {
            bail!("{part} is running already");
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = command(&launch);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = self
            .spawner
            .spawn(command)
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        let pid = child.id();
        children.insert(part, Running { child, launch, phase: Phase::Starting });
        record::write(&self.records, part.name(), pid)
    }

    /// The pid of a running part.
    #[must_use]
    pub fn pid(&self, part: Part) -> Option<u32> {
        self.children().get(&part).map(|running| running.child.id())
    }

    /// Says that a process has become ready: from then on its end is news.
    pub fn is_up(&self, part: Part) {
        if let Some(running) = self.children().get_mut(&part) {
            running.phase = Phase::Up;
        }
    }

    /// The first child that was up and has ended without being asked to.
    pub fn ended(&self) -> Option<(Part, ExitStatus)> {
        let mut children = self.children();
        let mut up = children.iter_mut().filter(|(_, running)| running.phase == Phase::Up);
        let (part, status) =
            up.find_map(|(part, running)| Some((*part, running.child.try_wait().ok().flatten()?)))?;
        children.remove(&part);
        record::remove(&self.records, part.name());
        Some((part, status))
    }

    /// Whether the part has ended; forgets it if so. A part that does not run has.
    pub fn has_ended(&self, part: Part) -> bool {
        let mut children = self.children();
        let Some(running) = children.get_mut(&part) else { return true };
        // A failed wait means that somebody else has reaped it.
        let ended = !matches!(running.child.try_wait(), Ok(None));
        if ended {
            children.remove(&part);
            record::remove(&self.records, part.name());
        }
        ended
    }

    /// Asks a part to finish and exit.
    pub fn ask_to_stop(&self, part: Part) {
        if let Some(running) = self.children().get_mut(&part) {
            running.phase = Phase::Stopping;
            signal(&running.child, running.launch.stop);
        }
    }

    /// Kills a part as kill -9 does: nothing of it gets to run any more.
    pub fn kill(&self, part: Part) {
        if let Some(running) = self.children().get_mut(&part) {
            running.phase = Phase::Stopping;
            // The group, because a store may have helpers; a process that left the group notices its parent's death itself.
            let _ = killpg(pid(&running.child), Signal::SIGKILL);
        }
    }

    /// Waits until a part has ended, without blocking the caller's runtime. Says whether it has.
    pub async fn wait(&self, part: Part, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        while !self.has_ended(part) {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Ends every child at once and waits until all are gone. Blocks; for a mesh that nobody wants any more.
    pub fn abort_all(&self) {
        let parts: Vec<Part> = self.children().keys().copied().collect();
        for part in &parts {
            if let Some(running) = self.children().get(part) {
                signal(&running.child, running.launch.abort);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while parts.iter().any(|part| !self.has_ended(*part)) {
            if Instant::now() >= deadline {
                parts.iter().for_each(|part| self.kill(*part));
            }
            std::thread::sleep(POLL);
        }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<Part, Running>> {
        // Every change of the map is a single insert or remove, so a panic elsewhere cannot have left it half done.
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.abort_all();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn signal(child: &Child, signal: Signal) {
    // The child is not reaped yet, so the pid is still its own; it may be a zombie, which is as good as signalled.
    let _ = kill(pid(child), signal);
}

/// The program under setpriv, which runs it as another user where that is wanted and has the kernel stop it when this process
/// dies. It execs, so the pid stays the program's own.
fn command(launch: &Launch) -> Command {
    let mut command = Command::new("setpriv");
    let name = launch.stop.as_str().trim_start_matches("SIG");
    command.arg(format!("--pdeathsig={name}"));
    if let Some(user) = &launch.user {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--init-groups");
    }
    command.arg("--").arg(&launch.program).args(&launch.arguments).current_dir(&launch.folder);
    command
}

/// What a dead process said last, and where to read on. Of a log line only a complaint is worth repeating: a process that was
/// killed has usually said something cheerful before.
#[must_use]
pub fn last_words(log: &Path) -> String {
    const LENGTH_MAX: usize = 400;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let words = match serde_json::from_str::<serde_json::Value>(line) {
        Err(_) => line.to_owned(),
        Ok(line) => {
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let complains = matches!(line["level"].as_str(), Some("ERROR" | "WARN"));
            if complains {
                format!("{} {}", field("message"), field("error")).trim().to_owned()
            } else {
                String::new()
            }
        }
    };
    let words: String = words.chars().take(LENGTH_MAX).collect();
    let separator = if words.is_empty() { "" } else { ": " };
    format!("{separator}{words} (see {})", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Launch {
        Launch {
            program: "/bin/sleep".into(),
            arguments: vec!["600".into()],
            folder: folder.into(),
            user: None,
            stop: Signal::SIGTERM,
            abort: Signal::SIGKILL,
        }
    }

    #[tokio::test]
    async fn killed_and_stopped_children_are_seen_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let children = Supervisor::new(&state).unwrap();
        let log = state.log("sleep");
        for part in [Part::Edge, Part::Docs] {
            children.start(part, sleeper(folder.path()), &log).unwrap();
        }
        assert!(children.ended().is_none());
        children.kill(Part::Edge);
        children.ask_to_stop(Part::Docs);
        assert!(children.wait(Part::Edge, Duration::from_secs(5)).await);
        assert!(children.wait(Part::Docs, Duration::from_secs(5)).await);
        assert_eq!(fs::read_dir(state.run()).unwrap().count(), 0, "records stay behind");
    }

    #[test]
    fn nothing_is_left_running_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let children = Supervisor::new(&state).unwrap();
        children.start(Part::Edge, sleeper(folder.path()), &state.log("sleep")).unwrap();
        let pid = children.pid(Part::Edge).unwrap();
        drop(children);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn only_complaints_are_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        for (text, expect) in [
            ("starting\ncannot bind port 1\n\n", ": cannot bind port 1"),
            ("{\"level\":\"ERROR\",\"message\":\"failed\",\"error\":\"no route\"}\n", ": failed no route"),
            ("{\"level\":\"INFO\",\"message\":\"serving\"}\n", ""),
            ("", ""),
        ] {
            fs::write(&log, text).unwrap();
            assert_eq!(last_words(&log), format!("{expect} (see {})", log.display()));
        }
    }
}
