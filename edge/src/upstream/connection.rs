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

/// How often a connection is looked after: whether it is idle, silent, old or to be let go. It is also how much later than
/// configured each of these is noticed.
const LOOK_AFTER_EVERY: Duration = Duration::from_millis(250);
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
    /// It was given up because it gave no sign of life.
    silent: AtomicBool,
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
            silent: AtomicBool::new(false),
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

    /// Makes way for a new one, once that is there.
    fn replace(self: &Arc<Self>) {
        if let Some(group) = self.group.upgrade() {
            group.replace(self);
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

    /// Whether the connection was lost to the silence of its peer.
    pub(super) fn was_silent(&self) -> bool {
        self.connection.silent.load(Ordering::Relaxed)
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
    /// After so long without a byte although one is owed the peer is asked for a sign of life, by a PING.
    pub(super) silent: Duration,
    /// After so long without an answer to that it is given up.
    pub(super) pong: Duration,
    /// How long an answer is believed while the silence goes on. Zero: nothing is ever asked.
    pub(super) ping: Duration,
    /// After about so long it is replaced. Zero: never.
    pub(super) age: Duration,
}

/// The age at which one connection is replaced: up to a tenth more or less, so that those made together, after a restart, do not
/// all go together. `luck` is 0 to 1.
fn lifetime(age: Duration, luck: f64) -> Option<Duration> {
    (!age.is_zero()).then(|| age.mul_f64(0.9 + 0.2 * luck))
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
    let mut watch = Watch::new(keep, Instant::now(), rand::random());
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
                    Verdict::Replace => connection.replace(),
                    Verdict::Ping => if let Some(ping_pong) = &mut ping_pong
                        && ping_pong.send_ping(h2::Ping::opaque()).is_err() { break; },
                    Verdict::Dead => {
                        tracing::warn!("upstream connection gave no sign of life");
                        connection.silent.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
            pong = poll_fn(|cx| match &mut ping_pong {
                Some(ping_pong) => ping_pong.poll_pong(cx),
                None => std::task::Poll::Pending,
            }), if watch.pinged.is_some() => {
                if pong.is_err() { break; }
                watch.answered(Instant::now());
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
    Replace,
    Ping,
    Dead,
}

/// How long a connection has been idle or silent.
struct Watch {
    keep: Keep,
    replace_at: Option<Instant>,
    idle_since: Option<Instant>,
    /// Since when the peer owes something and has sent nothing. A call that is given up in the meantime does not settle that: else
    /// calls with short deadlines would hide a dead peer for ever.
    silent_since: Option<Instant>,
    pinged: Option<Instant>,
    /// The last answer to a PING, in this silence.
    answered: Option<Instant>,
}

impl Watch {
    fn new(keep: Keep, now: Instant, luck: f64) -> Self {
        let replace_at = lifetime(keep.age, luck).map(|lifetime| now + lifetime);
        Self { keep, replace_at, idle_since: None, silent_since: None, pinged: None, answered: None }
    }

    fn look(&mut self, connection: &Connection, now: Instant, draining: bool) -> Verdict {
        let active = connection.active.load(Ordering::Relaxed);
        let heard = connection.heard.swap(false, Ordering::Relaxed);
        self.judge(active, heard, now, draining)
    }

    fn judge(&mut self, active: usize, heard: bool, now: Instant, draining: bool) -> Verdict {
        if heard {
            (self.silent_since, self.pinged, self.answered) = (None, None, None);
        }
        if let Some(verdict) = self.silence(active, now) {
            return verdict;
        }
        if active == 0 {
            let idle_since = *self.idle_since.get_or_insert(now);
            if draining || now.duration_since(idle_since) >= self.keep.idle {
                return Verdict::Retire;
            }
        } else {
            self.idle_since = None;
        }
        let old = self.replace_at.is_some_and(|at| now >= at);
        if old && !draining { Verdict::Replace } else { Verdict::Keep }
    }

    /// What the silence of the peer asks for, if anything.
    fn silence(&mut self, active: usize, now: Instant) -> Option<Verdict> {
        if self.keep.ping.is_zero() {
            return None;
        }
        if active > 0 {
            self.silent_since.get_or_insert(now);
        }
        let silent_since = self.silent_since?;
        if let Some(pinged) = self.pinged {
            return (now.duration_since(pinged) >= self.keep.pong).then_some(Verdict::Dead);
        }
        let (since, bound) = match self.answered {
            Some(answered) => (answered, self.keep.ping),
            None => (silent_since, self.keep.silent),
        };
        if now.duration_since(since) < bound {
            return None;
        }
        self.pinged = Some(now);
        Some(Verdict::Ping)
    }

    /// The peer lives. Without a call nothing is owed any more; with one it may be slow, and is asked again later.
    fn answered(&mut self, now: Instant) {
        (self.pinged, self.answered) = (None, Some(now));
        if self.idle_since.is_some() {
            (self.silent_since, self.answered) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn watch(start: Instant) -> Watch {
        let keep = Keep { idle: S(90), silent: S(1), pong: S(2), ping: S(20), age: S(600) };
        Watch::new(keep, start, 0.5)
    }

    #[test]
    fn a_connection_is_kept_pinged_and_given_up_in_time() {
        let start = Instant::now();
        let mut watch = watch(start);
        for (at, active, heard, draining, expect) in [
            (0, 1, true, false, Verdict::Keep),
            (1, 1, false, false, Verdict::Ping),
            (2, 1, true, false, Verdict::Keep),
            (3, 1, false, false, Verdict::Ping),
            (4, 1, false, false, Verdict::Keep),
            (5, 1, false, false, Verdict::Dead),
            (10, 0, true, false, Verdict::Keep),
            (99, 0, false, false, Verdict::Keep),
            (100, 0, false, false, Verdict::Retire),
            (101, 1, true, true, Verdict::Keep),
            (102, 0, true, true, Verdict::Retire),
        ] {
            let verdict = watch.judge(active, heard, start + S(at), draining);
            assert_eq!(verdict, expect, "at {at}");
        }
    }

    #[test]
    fn a_slow_peer_that_answers_pings_is_believed_for_a_while() {
        let start = Instant::now();
        let mut watch = watch(start);
        assert_eq!(watch.judge(1, false, start, false), Verdict::Keep);
        assert_eq!(watch.judge(1, false, start + S(1), false), Verdict::Ping);
        watch.answered(start + S(2));
        assert_eq!(watch.judge(1, false, start + S(21), false), Verdict::Keep);
        assert_eq!(watch.judge(1, false, start + S(22), false), Verdict::Ping);
        assert_eq!(watch.judge(1, false, start + S(24), false), Verdict::Dead);
    }

    #[test]
    fn calls_that_are_given_up_do_not_hide_a_dead_peer() {
        let start = Instant::now();
        let mut watch = watch(start);
        assert_eq!(watch.judge(1, false, start, false), Verdict::Keep);
        assert_eq!(watch.judge(0, false, start + S(1), false), Verdict::Ping, "it owed an answer");
        assert_eq!(watch.judge(0, false, start + S(3), false), Verdict::Dead);
    }

    #[test]
    fn an_old_connection_is_replaced_earlier_or_later_than_its_sisters() {
        let start = Instant::now();
        let mut watch = watch(start);
        assert_eq!(watch.judge(1, true, start + S(599), false), Verdict::Keep);
        assert_eq!(watch.judge(1, true, start + S(600), false), Verdict::Replace);
        assert_eq!(watch.judge(1, true, start + S(601), true), Verdict::Keep, "not in a drain");
        for (luck, expect) in [(0.0, 540), (0.5, 600), (1.0, 660)] {
            assert_eq!(lifetime(S(600), luck).map(|age| age.as_secs()), Some(expect));
        }
        assert_eq!(lifetime(Duration::ZERO, 0.5), None);
    }
}
