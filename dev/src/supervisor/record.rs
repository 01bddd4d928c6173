//! What is written down about a running child, so that a later run can stop what a killed one left behind. A pid alone is not
//! enough: it may belong to somebody else by then. A pid with its start time and the machine's boot names one process for ever.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process that was left behind gets to finish; stores write out what they hold.
const STOP_LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    pid: u32,
    /// Clock ticks since boot: field 22 of /proc/<pid>/stat.
    start_ticks: u64,
    boot_id: String,
}

impl Record {
    /// The record of a process that runs; nothing for one that does not.
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may contain anything; the fields after it are plain.
        let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
        if fields.next()? == "Z" {
            return None;
        }
        let start_ticks = fields.nth(18)?.parse().ok()?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid, start_ticks, boot_id })
    }

    fn runs(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

pub(super) fn write(folder: &Path, name: &str, pid: u32) -> Result<()> {
    // A child that has ended already leaves nothing to record.
    let Some(record) = Record::of(pid) else { return Ok(()) };
    crate::state::write_private(&folder.join(name), serde_json::to_vec(&record)?)
}

pub(super) fn remove(folder: &Path, name: &str) {
    // A record of a process that is gone harms nobody: the next run sees that it does not run.
    let _ = fs::remove_file(folder.join(name));
}

/// Stops every recorded process that still runs and forgets the records. The names of those stopped are returned.
pub(crate) fn stop_leftovers(folder: &Path) -> Result<Vec<String>> {
    let mut stopped = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(record) =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok())
            && record.runs()
        {
            stop(&name, &record)?;
            stopped.push(name);
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(stopped)
}

fn stop(name: &str, record: &Record) -> Result<()> {
    let pid = Pid::from_raw(record.pid.cast_signed());
    let deadline = Instant::now() + STOP_LONGEST;
    // SIGINT ends all of them in good order; PostgreSQL would wait for its clients on SIGTERM.
    kill(pid, Signal::SIGINT)
        .with_context(|| format!("cannot stop {name}, process {pid} of an earlier run"))?;
    while record.runs() {
        if Instant::now() >= deadline {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        if Instant::now() >= deadline + Duration::from_secs(2) {
            bail!("{name}, process {pid} of an earlier run, does not stop");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn leftover_process_is_stopped_and_its_record_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sleep").arg("600").process_group(0).spawn().unwrap();
        write(folder.path(), "sleep", child.id()).unwrap();
        // Reaped beside, as init would.
        let reaper = thread::spawn(move || child.wait());
        assert_eq!(stop_leftovers(folder.path()).unwrap(), ["sleep"]);
        assert!(!reaper.join().unwrap().unwrap().success());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn process_that_took_over_the_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let mut record = Record::of(child.id()).unwrap();
        record.start_ticks -= 1;
        fs::write(folder.path().join("sleep"), serde_json::to_vec(&record).unwrap()).unwrap();
        assert!(stop_leftovers(folder.path()).unwrap().is_empty());
        assert!(child.try_wait().unwrap().is_none(), "a stranger was stopped");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
