//! The processes that serve, and what is done to them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::world::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::COMMAND;

/// See the module. All are killed when this is dropped.
pub struct Fleet(Vec<Process>);

struct Process {
    port: u16,
    child: Option<Child>,
    stopped: bool,
    slow: bool,
}

impl Fleet {
    /// Starts `count` of them.
    pub async fn start(count: usize) -> Self {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(held);
        let mut fleet = Self(
            ports
                .into_iter()
                .map(|port| Process { port, child: None, stopped: false, slow: false })
                .collect(),
        );
        fleet.heal().await;
        fleet
    }

    pub fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|process| format!("127.0.0.1:{}", process.port)).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// SIGKILL: its kernel closes its connections.
    pub fn kill(&mut self, at: usize) {
        self.0[at].kill();
    }

    /// Starts one that was killed; it takes a moment to listen.
    pub fn launch(&mut self, at: usize) {
        self.0[at].launch();
    }

    /// SIGSTOP: its kernel still takes connections and bytes.
    pub fn pause(&mut self, at: usize) {
        self.0[at].stopped = true;
        self.0[at].signal(Signal::SIGSTOP);
    }

    pub fn resume(&mut self, at: usize) {
        self.0[at].stopped = false;
        self.0[at].signal(Signal::SIGCONT);
    }

    /// Makes one slow, or quick again.
    pub fn turn(&mut self, at: usize) {
        self.0[at].slow ^= true;
        self.0[at].signal(Signal::SIGUSR1);
    }

    /// Brings all to where they were in the beginning.
    pub async fn heal(&mut self) {
        for at in 0..self.0.len() {
            if self.0[at].stopped {
                self.resume(at);
            }
            if self.0[at].slow {
                self.turn(at);
            }
            self.launch(at);
        }
        for process in &self.0 {
            let port = process.port;
            let listens = || async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
            eventually("an endpoint listens", Duration::from_secs(20), listens).await;
        }
    }
}

impl Process {
    fn launch(&mut self) {
        if self.child.is_some() {
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([COMMAND, &self.port.to_string()]).stdin(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
