//! A server that lives inside this process, on a runtime of its own. So it can be killed like a process: connections and
//! listener are gone at once, and what its handlers block does not block the caller.

use anyhow::{Context, Result};
use std::future::Future;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How long a port that is still taken is waited for. Another process's server keeps it longer, and is told of.
const LETS_GO: Duration = Duration::from_secs(1);

/// A running server. Dropping it kills it.
pub(crate) struct Hosted(Option<Runtime>);

impl Hosted {
    /// Binds the port and serves on it.
    pub(crate) fn start<F>(port: u16, serve: impl FnOnce(tokio::net::TcpListener) -> F) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = bind(port).with_context(|| format!("cannot listen on port {port}"))?;
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // From here on whatever fails lets the runtime go as a kill does.
        let hosted = Self(Some(runtime));
        if let Some(runtime) = &hosted.0 {
            let listener = {
                let _context = runtime.enter();
                tokio::net::TcpListener::from_std(listener)?
            };
            runtime.spawn(serve(listener));
        }
        Ok(hosted)
    }
}

/// A server that was killed lets its port go a moment later, in the background.
fn bind(port: u16) -> std::io::Result<TcpListener> {
    let until = Instant::now() + LETS_GO;
    loop {
        match TcpListener::bind(crate::ports::loopback(port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        // In the background, because this may run where blocking is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
