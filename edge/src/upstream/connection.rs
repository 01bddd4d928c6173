//! One pooled HTTP/2 connection: how many streams it carries, whether it may carry more, and the task that moves its bytes.
//! A stream holds a [`Slot`]; the last word on the number of streams has the server (SETTINGS_MAX_CONCURRENT_STREAMS).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::dial::Socket;
use super::group::Group;

/// How often a connection is looked after: whether it is idle, silent or to be let go.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(1);
/// The same during the drain, which waits for it.
const LOOK_AFTER_IN_DRAIN_EVERY: Duration = Duration::from_millis(50);

/// How many streams a connection carries in its life. HTTP/2 has 2^30 stream ids for a client, a day's worth under load;
/// a connection that has used half of them makes way for a new one.
const STREAMS_IN_LIFE_MAX: usize = 1 << 29;

/// A connection that takes streams.
#[derive(Debug)]
pub(super) struct Connection {
    send: SendRequest<Bytes>,
    group: Weak<Group>,
    streams_max: usize,
    /// The generation of the identity it was made under.
    generation: u64,
    active: AtomicUsize,
    opened: AtomicUsize,
    /// No further streams; those that are open go on.
    retired: AtomicBool,
    /// Whether a stream has read anything since the last look.
    heard: AtomicBool,
}

impl Connection {
    pub(super) fn new(
        send: SendRequest<Bytes>,
        group: Weak<Group>,
        streams_max: usize,
        generation: u64,
    ) -> Self {
        Self {
            send,
            group,
            streams_max,
            generation,
            active: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            heard: AtomicBool::new(false),
        }
    }

    /// Room for one more stream, if there is any.
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot> {
        if self.retired.load(Ordering::Relaxed) {
            return None;
        }
        let limit = self.streams_max.min(self.send.current_max_send_streams());
        // SeqCst: see `Gate`, whose waiters must see either this count or the signal.
        self.active
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |active| (active < limit).then_some(active + 1))
            .ok()?;
        if self.opened.fetch_add(1, Ordering::Relaxed) == STREAMS_IN_LIFE_MAX {
            self.retire();
        }
        Some(Slot { connection: self.clone() })
    }

    /// Takes no further streams. It closes by itself once the last one has ended.
    pub(super) fn retire(self: &Arc<Self>) {
        self.retired.store(true, Ordering::Relaxed);
        if let Some(group) = self.group.upgrade() {
            group.remove(self);
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

/// A stream's place on a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connection: Arc<Connection>,
}

impl Slot {
    /// A handle to open the stream with.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.send.clone()
    }

    /// The connection has refused a new stream and will refuse all.
    pub(super) fn retire_connection(&self) {
        self.connection.retire();
    }

    /// The connection is alive: something was read from it.
    pub(super) fn heard(&self) {
        self.connection.heard.store(true, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.active.fetch_sub(1, Ordering::SeqCst);
        if let Some(group) = self.connection.group.upgrade() {
            group.freed();
        }
    }
}

/// When a connection is let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// After so long without a stream.
    pub(super) idle: Duration,
    /// After so long without a byte although streams are open, and as long again without an answer to a PING. Zero: never.
    pub(super) ping: Duration,
}

/// Moves the bytes of a connection until it has ended.
pub(super) async fn drive(
    mut http: h2::client::Connection<Socket, Bytes>,
    connection: Weak<Connection>,
    keep: Keep,
    stopping: impl Future<Output = ()>,
) {
    let mut ping_pong = http.ping_pong();
    let mut http = pin!(http);
    let mut stopping = pin!(stopping);
    let mut draining = false;
    let mut watch = Watch::new(keep);
    let mut look_after = interval(LOOK_AFTER_EVERY);
    look_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The connection first: it is what nearly every wakeup is for.
            biased;
            ended = &mut http => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "upstream connection ended");
                }
                break;
            }
            now = look_after.tick() => {
                let Some(connection) = connection.upgrade() else { continue };
                match watch.look(&connection, now, draining) {
                    Verdict::Keep => (),
                    Verdict::Retire => connection.retire(),
                    Verdict::Ping => if let Some(ping_pong) = &mut ping_pong
                        && ping_pong.send_ping(h2::Ping::opaque()).is_err() { break; },
                    Verdict::Dead => {
                        tracing::warn!("upstream connection gave no sign of life");
                        break;
                    }
                }
            }
            pong = poll_fn(|cx| match &mut ping_pong {
                Some(ping_pong) => ping_pong.poll_pong(cx),
                None => std::task::Poll::Pending,
            }), if watch.pinged.is_some() => {
                if pong.is_err() { break; }
                watch.pinged = None;
            }
            () = &mut stopping, if !draining => {
                draining = true;
                look_after = interval(LOOK_AFTER_IN_DRAIN_EVERY);
            }
        }
    }
    if let Some(connection) = connection.upgrade() {
        connection.retire();
    }
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Retire,
    Ping,
    Dead,
}

/// How long a connection has been idle or silent.
struct Watch {
    keep: Keep,
    idle_since: Option<Instant>,
    silent_since: Option<Instant>,
    pinged: Option<Instant>,
}

impl Watch {
    fn new(keep: Keep) -> Self {
        Self { keep, idle_since: None, silent_since: None, pinged: None }
    }

    fn look(&mut self, connection: &Connection, now: Instant, draining: bool) -> Verdict {
        let active = connection.active.load(Ordering::Relaxed);
        let heard = connection.heard.swap(false, Ordering::Relaxed);
        self.judge(active, heard, now, draining)
    }

    fn judge(&mut self, active: usize, heard: bool, now: Instant, draining: bool) -> Verdict {
        if active == 0 {
            (self.silent_since, self.pinged) = (None, None);
            let idle_since = *self.idle_since.get_or_insert(now);
            let over = draining || now.duration_since(idle_since) >= self.keep.idle;
            return if over { Verdict::Retire } else { Verdict::Keep };
        }
        self.idle_since = None;
        if heard || self.keep.ping.is_zero() {
            (self.silent_since, self.pinged) = (None, None);
            return Verdict::Keep;
        }
        if let Some(pinged) = self.pinged {
            return if now.duration_since(pinged) >= self.keep.ping { Verdict::Dead } else { Verdict::Keep };
        }
        if now.duration_since(*self.silent_since.get_or_insert(now)) < self.keep.ping {
            return Verdict::Keep;
        }
        (self.silent_since, self.pinged) = (None, Some(now));
        Verdict::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_pinged_and_given_up_in_time() {
        let keep = Keep { idle: Duration::from_secs(90), ping: Duration::from_secs(20) };
        let start = Instant::now();
        let mut watch = Watch::new(keep);
        for (at, active, heard, draining, expect) in [
            (0, 1, true, false, Verdict::Keep),
            (1, 1, false, false, Verdict::Keep),
            (20, 1, false, false, Verdict::Keep),
            (21, 1, false, false, Verdict::Ping),
            (30, 1, true, false, Verdict::Keep),
            (31, 1, false, false, Verdict::Keep),
            (51, 1, false, false, Verdict::Ping),
            (70, 1, false, false, Verdict::Keep),
            (71, 1, false, false, Verdict::Dead),
            (80, 0, false, false, Verdict::Keep),
            (169, 0, false, false, Verdict::Keep),
            (170, 0, false, false, Verdict::Retire),
            (171, 1, true, true, Verdict::Keep),
            (172, 0, false, true, Verdict::Retire),
        ] {
            let verdict = watch.judge(active, heard, start + Duration::from_secs(at), draining);
            assert_eq!(verdict, expect, "at {at}");
        }
    }
}
