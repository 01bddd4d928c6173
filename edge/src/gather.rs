//! Lets a connection wait for company. The task of an HTTP/2 connection is woken by every stream that has something to send, and
//! tokio runs a task that was woken next of all: each frame would leave in a system call, a TLS record and a segment of its own,
//! though the streams that are ready behind it have more to say. Run after them, the connection sends what all of them said at
//! once. With nothing else to do it runs at once; what it costs then is one look at the sockets.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// See the module. The future is boxed by whoever makes it: it lives as long as its connection.
pub struct Gather<F> {
    inner: Pin<Box<F>>,
    /// Whether the others have had their turn.
    waited: bool,
}

impl<F: Future> Gather<F> {
    /// Runs `inner` behind whatever is ready when it is woken.
    pub fn new(inner: F) -> Self {
        Self { inner: Box::pin(inner), waited: true }
    }
}

impl<F: Future> Future for Gather<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !self.waited {
            self.waited = true;
            // A task that wakes itself goes behind those that are ready. tokio's `yield_now` would look at the sockets first, which
            // is a system call for each time a connection waits.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        self.inner.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::sync::Notify;
    use tokio::task::{LocalSet, yield_now};

    use super::*;

    #[test]
    fn it_runs_after_what_became_ready_with_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let set = LocalSet::new();
        let (said, wake) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Notify::new()));
        let (log, woken) = (said.clone(), wake.clone());
        let connection = set.spawn_local(Gather::new(async move {
            woken.notified().await;
            log.borrow_mut().push("connection");
        }));
        let (log, streams) = (said.clone(), 3);
        set.block_on(&runtime, async move {
            yield_now().await;
            wake.notify_one();
            for _ in 0..streams {
                let log = log.clone();
                tokio::task::spawn_local(async move { log.borrow_mut().push("stream") });
            }
            connection.await.unwrap();
        });
        assert_eq!(*said.borrow(), ["stream", "stream", "stream", "connection"]);
    }
}
