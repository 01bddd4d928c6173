//! The one thread that forks. The kernel sends a child its parent-death signal when the *thread* that forked it ends, not the
//! process; a thread of an async runtime or of a test may end long before the mesh does, this one ends with the supervisor.

use anyhow::{Context, Result};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Takes commands to the forking thread. The thread ends when this is dropped.
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    pub(super) fn start() -> Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    // Who asked may have gone; the child is then dropped, and dies with this thread.
                    let _ = answer.send(command.spawn());
                }
            })
            .context("cannot start the thread that starts processes")?;
        Ok(Self { orders })
    }

    pub(super) fn spawn(&self, command: Command) -> Result<Child> {
        let (answer, child) = mpsc::channel();
        self.orders.send((command, answer)).ok().context("the thread that starts processes has ended")?;
        Ok(child.recv().context("the thread that starts processes has ended")??)
    }
}
