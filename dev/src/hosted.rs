//! A server that lives inside this process, on a runtime of its own. So it can be killed like a process: connections and
//! listener are gone at once, and what its handlers block does not block the caller.

use anyhow::{Context, Result};
use std::future::Future;
use std::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A running server. Dropping it kills it.
pub(crate) struct Hosted(Option<Runtime>);

impl Hosted {
    /// Binds the port and serves on it.
    pub(crate) fn start<F>(port: u16, serve: impl FnOnce(tokio::net::TcpListener) -> F) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = TcpListener::bind(crate::ports::loopback(port))
            .with_context(|| format!("cannot listen on port {port}"))?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(serve(listener));
        Ok(Self(Some(runtime)))
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
