//! What everything that starts needs to know: the folder, the ports, the secrets, the certificates and the children. Also the
//! one way to start a process and wait for it, so that a process that dies or never answers is always told in the same line.

use crate::part::Part;
use crate::pki::Pki;
use crate::ports::Ports;
use crate::secrets::Secrets;
use crate::state::State;
use crate::supervisor::{Launch, Supervisor, last_words};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a process may take until it answers. Ten times what the slowest takes on two cores: recovery after a crash and a
/// machine that builds beside it are in there.
const READY_LONGEST: Duration = Duration::from_secs(60);
/// How often a starting process is asked.
const READY_POLL: Duration = Duration::from_millis(20);

/// A mesh's place in the world.
pub(crate) struct Site {
    pub(crate) state: State,
    pub(crate) ports: Ports,
    pub(crate) secrets: Secrets,
    pub(crate) pki: Pki,
    pub(crate) children: Supervisor,
    /// Where the five binaries are.
    pub(crate) binaries: PathBuf,
    /// Where others are told to find a part, if not at its own port: behind something that a test has put in between.
    pub(crate) found_at: BTreeMap<Part, Vec<u16>>,
}

impl Site {
    /// The ports at which others find a part whose own port is `own`.
    pub(crate) fn ports_to(&self, part: Part, own: u16) -> Vec<u16> {
        self.found_at.get(&part).cloned().unwrap_or_else(|| vec![own])
    }

    /// Starts a process and waits until `ready` says so. A process that is not ready in the end is not left running.
    pub(crate) async fn start(
        &self,
        part: Part,
        launch: Launch,
        ready: impl AsyncFn() -> bool,
    ) -> Result<()> {
        let log = self.state.log(part.name());
        self.children.start(part, launch, &log)?;
        let deadline = Instant::now() + READY_LONGEST;
        loop {
            if ready().await {
                self.children.is_up(part);
                return Ok(());
            }
            if self.children.has_ended(part) {
                bail!("{part} did not start{}", last_words(&log));
            }
            if Instant::now() >= deadline {
                self.children.kill(part);
                bail!("{part} is not ready after {} s{}", READY_LONGEST.as_secs(), last_words(&log));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
}
