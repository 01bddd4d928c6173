//! The one writer of a process. Callers put units of commands into a bounded [`queue`]; the writer takes what has gathered while
//! the last batch was committed, judges it under the head lock and commits it: no timer, the size of a batch follows the load. One
//! writer is enough, and the best: two would only wait for each other at the head.
//!
//! A connection lost at COMMIT leaves the outcome open. The batch is then judged again on a new connection: what was committed is
//! found in `outcome` (or as an account) and answered from there, what was not is done now. Nobody is answered before that.

mod queue;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chassis::drain::Drain;
use chassis::health::Health;
use chassis::metrics::Metrics;
use chassis::outbox::Bell;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

pub use self::queue::Series;
use self::queue::{Entrance, Place, Queue, Reply, Submission, Turned, queue};
use super::numbers::Numbers;
use super::{batch, link::Link, schema};
use crate::config;
use crate::domain::command::Unit;
use crate::domain::verdict::Verdict;
use crate::error::{Error, is_away, is_full};

/// How long a unit is tried again before its caller is told, who may set an earlier time: the longest deadline of a money write.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a unit of several commands waits for room before its caller is turned away: some batches. It may have to wait where
/// many import, and is served in turn then; refusing it at once would leave it to chance.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest pause, and so how late a server that is back can be noticed.
const PAUSE_LONGEST: Duration = Duration::from_millis(500);
/// How often an idle connection is tried, so that readiness follows the server without a write.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How long the writer stays after the word to stop, since the last command: what had arrived by then reaches the queue sooner.
const LINGER: Duration = Duration::from_millis(500);

/// The callers' side of the writer.
#[derive(Debug)]
pub(super) struct Writer {
    entrance: Entrance,
    reachable: Arc<AtomicBool>,
    numbers: Numbers,
    bell: Arc<OnceLock<Bell>>,
    drain: Drain,
}

/// A unit that waits for its verdicts. When it is dropped before the writer has come to it, it is not judged.
#[derive(Debug)]
pub struct Judging(oneshot::Receiver<Reply>);

impl Judging {
    /// Waits for the verdicts. They are answered once.
    ///
    /// # Errors
    /// As [`super::Store::submit`].
    pub async fn verdicts(&mut self) -> Reply {
        // The writer answers everyone it has taken; it ends without an answer only if the process is being torn down.
        (&mut self.0).await.unwrap_or(Err(Error::OutcomeUnknown))
    }

    /// The verdicts, if they are there.
    pub fn ready(&mut self) -> Option<Reply> {
        self.0.try_recv().ok()
    }
}

impl Writer {
    /// Starts the writer's task.
    pub(super) fn start(
        config: &config::Store,
        drain: &Drain,
        health: &Health,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let (entrance, waiting) = queue(config.queue_max, config.batch_max);
        let reachable = Arc::new(AtomicBool::new(true));
        let numbers = Numbers::register(metrics);
        let bell = Arc::default();
        let task = Task {
            config: config.clone(),
            timeout: config.timeout(),
            waiting,
            link: None,
            memory: batch::Memory::default(),
            commit_sent: false,
            reachable: Arc::clone(&reachable),
            health: health.clone(),
            numbers: numbers.clone(),
            bell: Arc::clone(&bell),
        };
        drain.spawn("writer", task.run(drain.clone()));
        Ok(Self { entrance, reachable, numbers, bell, drain: drain.clone() })
    }

    /// See [`super::Store::announce`]. Whoever comes second is not heard: a process has one outbox.
    pub(super) fn announce(&self, bell: Bell) {
        let _ = self.bell.set(bell);
    }

    /// See [`super::Store::stopping`].
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.drain.stopping()
    }

    /// Has a unit judged and committed with the next batch. The verdicts are of use until `by`.
    pub(super) async fn submit(&self, unit: Unit, by: Option<Instant>) -> Reply {
        self.check_reachable()?;
        let (reply, verdicts) = oneshot::channel();
        let commands = unit.commands.len();
        let submission = Submission { unit: Arc::new(unit), by, series: None, reply };
        let entered = if commands == 1 {
            self.entrance.enter_single(submission)
        } else {
            match timeout(ROOM_PATIENCE, self.entrance.room(commands)).await {
                Ok(place) => place.and_then(|place| place.take(submission)),
                Err(_) => Err(Turned::Full),
            }
        };
        entered.map_err(|turned| self.turned(turned))?;
        Judging(verdicts).verdicts().await
    }

    /// See [`super::Store::room`].
    pub(super) async fn room(&self, commands: usize) -> Result<Room<'_>, Error> {
        self.check_reachable()?;
        let place = self.entrance.room(commands).await.map_err(|turned| self.turned(turned))?;
        Ok(Room { place, writer: self })
    }

    /// Whoever comes while the server is away is told at once, instead of waiting for a deadline.
    fn check_reachable(&self) -> Result<(), Error> {
        if self.reachable.load(Ordering::Relaxed) { Ok(()) } else { Err(Error::NotDone) }
    }

    fn turned(&self, turned: Turned) -> Error {
        match turned {
            Turned::Full => {
                self.numbers.refused_full();
                Error::QueueFull
            }
            Turned::Closed => Error::NotDone,
        }
    }
}

/// Room in the queue for the next unit of a series.
#[derive(Debug)]
pub struct Room<'a> {
    place: Place<'a>,
    writer: &'a Writer,
}

impl Room<'_> {
    /// Takes the unit in. It waits behind those of the series that came before, and is not judged if one of them fails.
    ///
    /// # Errors
    /// [`Error::NotDone`] when the writer has ended.
    pub fn take(self, unit: Unit, series: &Series) -> Result<Judging, Error> {
        let (reply, verdicts) = oneshot::channel();
        let submission = Submission { unit: Arc::new(unit), by: None, series: Some(series.member()), reply };
        self.place.take(submission).map_err(|turned| self.writer.turned(turned))?;
        Ok(Judging(verdicts))
    }
}

struct Task {
    config: config::Store,
    timeout: Duration,
    waiting: Queue,
    link: Option<Link>,
    memory: batch::Memory,
    /// Whether the last attempt came as far as sending its COMMIT.
    commit_sent: bool,
    reachable: Arc<AtomicBool>,
    health: Health,
    numbers: Numbers,
    bell: Arc<OnceLock<Bell>>,
}

impl Task {
    async fn run(mut self, drain: Drain) {
        loop {
            self.connect_if_needed(&drain).await;
            let quiet = if drain.is_stopping() { LINGER } else { PING_EVERY };
            let stopping = async {
                // Wakes a writer that waits for its next ping; afterwards the shorter wait holds.
                if drain.is_stopping() { std::future::pending().await } else { drain.stopping().await }
            };
            tokio::select! {
                biased;
                batch = self.waiting.batch() => match batch {
                    Some(batch) => self.settle(batch).await,
                    None => return,
                },
                () = stopping => {}
                () = sleep(quiet) => {
                    if drain.is_stopping() {
                        return;
                    }
                    self.ping().await;
                }
            }
        }
    }

    /// Answers everyone in the batch. A batch that the server refuses is halved until the unit at fault stands alone, so that it
    /// cannot take its neighbours with it.
    async fn settle(&mut self, batch: Vec<Submission>) {
        // Once a COMMIT may have arrived, that holds for every part of the batch.
        let mut unknown = false;
        let mut work = vec![batch];
        while let Some(mut batch) = work.pop() {
            match self.persist(&mut batch, &mut unknown).await {
                Ok(verdicts) => {
                    let mut verdicts = verdicts.into_iter();
                    for submission in batch {
                        let own = verdicts.by_ref().take(submission.unit.commands.len()).collect();
                        // A caller that is gone learns the verdict when it comes back with the same key.
                        let _ = submission.reply.send(Ok(own));
                    }
                }
                // No smaller batch would find room.
                Err(error) if is_full(&error) => {
                    tracing::error!(error = %error, units = batch.len(), "the store has no room");
                    for submission in batch {
                        submission.fail(if unknown { Error::OutcomeUnknown } else { Error::NotDone });
                    }
                }
                Err(error) if batch.len() > 1 => {
                    tracing::error!(error = %error, units = batch.len(), "batch refused by the store; halving it");
                    let tail = batch.split_off(batch.len() / 2);
                    work.extend([tail, batch]);
                }
                Err(error) => {
                    if let Some(submission) = batch.pop() {
                        submission.fail(Error::Store(error));
                    }
                }
            }
        }
    }

    /// Tries the batch until it is committed, or the server refuses it for a reason that trying again does not cure, or nobody waits
    /// any more. Whoever has left before a try is not judged; whoever cannot wait for the next is answered and taken out of the
    /// batch. Sets `unknown` when a COMMIT may have arrived.
    async fn persist(
        &mut self,
        batch: &mut Vec<Submission>,
        unknown: &mut bool,
    ) -> Result<Vec<Verdict>, sqlx::Error> {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = PAUSE_FIRST;
        loop {
            batch.retain(Submission::is_wanted);
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            let begun = Instant::now();
            let error = match self.bounded_attempt(batch).await {
                Ok(verdicts) => {
                    self.numbers.batch(verdicts.len(), begun.elapsed());
                    self.set_reachable(true);
                    return Ok(verdicts);
                }
                Err(error) => error,
            };
            *unknown |= self.commit_sent;
            // Without a link nothing was asked yet: whatever kept us from connecting is no judgement of the batch.
            if self.link.is_none() || is_away(&error) {
                tracing::warn!(error = %error, unknown = *unknown, units = batch.len(), "the store went away in mid-batch");
                self.link = None;
                self.set_reachable(false);
            } else if !self.recover(&error).await {
                return Err(error);
            }
            dismiss(batch, Instant::now() + pause, give_up, *unknown);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    async fn bounded_attempt(&mut self, batch: &[Submission]) -> Result<Vec<Verdict>, sqlx::Error> {
        self.commit_sent = false;
        match timeout(self.timeout, self.attempt(batch)).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }

    async fn attempt(&mut self, batch: &[Submission]) -> Result<Vec<Verdict>, sqlx::Error> {
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(Link::connect(&self.config).await?),
        };
        let units: Vec<Arc<Unit>> = batch.iter().map(|submission| Arc::clone(&submission.unit)).collect();
        let connection = link.begin().await?;
        // Whatever fails from here on, nothing is remembered.
        let written = batch::settle(connection, &units, std::mem::take(&mut self.memory)).await?;
        self.commit_sent = !written.is_empty;
        link.commit(!self.waiting.is_empty()).await?;
        self.memory = batch::Memory::of(written.after);
        if written.has_events
            && let Some(bell) = self.bell.get()
        {
            bell.ring();
        }
        Ok(written.verdicts)
    }

    /// Whether the batch may be tried again on the same connection: another transaction was in the way, or a partition that is there now
    /// was missing.
    async fn recover(&mut self, error: &sqlx::Error) -> bool {
        let conflict = error.as_database_error().and_then(|database| database.code());
        // Serialization failure, deadlock, lock not available.
        let conflict = conflict.is_some_and(|code| ["40001", "40P01", "55P03"].contains(&&*code));
        let rolled_back = match &mut self.link {
            Some(link) => matches!(timeout(self.timeout, link.rollback()).await, Ok(Ok(()))),
            None => false,
        };
        if !rolled_back {
            self.link = None;
        }
        conflict || (schema::lacks_partition(error) && self.add_partitions().await)
    }

    /// The clock has reached a month that nobody made a partition for: it is made now, and takes the writer this once a moment.
    async fn add_partitions(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        match timeout(self.timeout, link.add_partitions()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(error = %error, "partitions not made");
                false
            }
            Err(_) => {
                self.link = None;
                false
            }
        }
    }

    async fn connect_if_needed(&mut self, drain: &Drain) {
        let mut pause = PAUSE_FIRST;
        while self.link.is_none() && !drain.is_stopping() {
            match timeout(self.timeout, Link::connect(&self.config)).await {
                Ok(Ok(link)) => {
                    self.link = Some(link);
                    self.set_reachable(true);
                    return;
                }
                Ok(Err(error)) => tracing::warn!(error = %error, "the store cannot be reached"),
                Err(_) => tracing::warn!("the store does not answer"),
            }
            self.set_reachable(false);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    async fn ping(&mut self) {
        let Some(link) = &mut self.link else { return };
        match timeout(self.timeout, link.ping()).await {
            Ok(Ok(())) => return,
            // Only the connection may have ended; the next one tells.
            Ok(Err(error)) => tracing::warn!(error = %error, "the store went away"),
            Err(_) => {
                tracing::warn!("the store does not answer");
                self.set_reachable(false);
            }
        }
        self.link = None;
    }

    fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
        self.health.set_ready("store", reachable);
    }
}

/// Answers those whose time is over before the next try could be. They learn whether anything may have been done, which a deadline
/// that passes does not say.
fn dismiss(batch: &mut Vec<Submission>, next: Instant, give_up: Instant, unknown: bool) {
    let late = |submission: &mut Submission| {
        submission.by.map_or(give_up, |by| by.min(give_up)) < next + PAUSE_FIRST
    };
    for submission in batch.extract_if(.., late) {
        submission.fail(if unknown { Error::OutcomeUnknown } else { Error::NotDone });
    }
}
