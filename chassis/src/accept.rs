//! The accept loop of all five processes: a bounded number of connections, a deadline on the way to each, and an end when the
//! drain begins. What a connection speaks is the caller's business.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::drain::Drain;

/// After a failed accept (out of descriptors, mostly) the loop waits for connections to close instead of spinning.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The right to have a connection; dropped with it.
pub type Permit = OwnedSemaphorePermit;

/// Binds a listener.
///
/// # Errors
/// One line naming the address.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Accepts until the drain begins, and runs `serve` as a tracked task for each connection. Beyond `connections_max` open
/// connections, new ones wait in the kernel's backlog. The listener closes when this returns.
pub async fn accept<F, Fut>(listener: TcpListener, connections_max: usize, drain: &Drain, serve: F)
where
    F: Fn(TcpStream, SocketAddr, Permit) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(connections_max));
    let stopping = drain.stopping();
    tokio::pin!(stopping);
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            io::Result::Ok((stream, peer, permit))
        };
        tokio::select! {
            biased;
            () = &mut stopping => return,
            accepted = next => match accepted {
                Ok((stream, peer, permit)) => {
                    drain.spawn("connection", serve(stream, peer, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
}
