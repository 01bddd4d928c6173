//! The one writer of a process. Callers put commands into a bounded queue; the writer takes what has gathered while the last
//! batch was committed, judges it under the head lock and commits it: no timer, the size of a batch follows the load. One
//! writer is enough, and the best: two would only wait for each other at the head.
//!
//! A connection lost at COMMIT leaves the outcome open. The batch is then judged again on a new connection: what was committed is
//! found in `outcome` (or as an account) and answered from there, what was not is done now. Nobody is answered before that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chassis::drain::Drain;
use chassis::health::Health;
use chassis::metrics::Metrics;
use chassis::outbox::Bell;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::numbers::Numbers;
use super::{batch, link::Link, schema};
use crate::config;
use crate::domain::command::Unit;
use crate::domain::judge;
use crate::domain::verdict::Verdict;
use crate::error::{Error, is_away, is_full};

/// How long a batch is tried again before its callers are told: the longest deadline of a money write.
const PATIENCE: Duration = Duration::from_secs(30);
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
    queue: mpsc::Sender<Submission>,
    reachable: Arc<AtomicBool>,
    numbers: Numbers,
    bell: Arc<OnceLock<Bell>>,
}

/// Commands that came together and who waits for their verdicts.
struct Submission {
    unit: Unit,
    reply: oneshot::Sender<Result<Vec<Verdict>, Error>>,
}

impl Writer {
    /// Starts the writer's task.
    pub(super) fn start(
        config: &config::Store,
        drain: &Drain,
        health: &Health,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let (queue, waiting) = mpsc::channel(config.queue_max);
        let reachable = Arc::new(AtomicBool::new(true));
        let numbers = Numbers::register(metrics);
        let bell = Arc::default();
        let task = Task {
            config: config.clone(),
            batch_max: config.batch_max,
            timeout: config.timeout(),
            waiting,
            link: None,
            commit_sent: false,
            reachable: Arc::clone(&reachable),
            health: health.clone(),
            numbers: numbers.clone(),
            bell: Arc::clone(&bell),
        };
        drain.spawn("writer", task.run(drain.clone()));
        Ok(Self { queue, reachable, numbers, bell })
    }

    /// See [`super::Store::announce`]. Whoever comes second is not heard: a process has one outbox.
    pub(super) fn announce(&self, bell: Bell) {
        let _ = self.bell.set(bell);
    }

    /// Has commands judged and committed with the next batch.
    pub(super) async fn submit(&self, unit: Unit) -> Result<Vec<Verdict>, Error> {
        // Whoever comes while the server is away is told at once, instead of waiting for a deadline.
        if !self.reachable.load(Ordering::Relaxed) {
            return Err(Error::NotDone);
        }
        let (reply, verdict) = oneshot::channel();
        self.queue.try_send(Submission { unit, reply }).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                self.numbers.refused_full();
                Error::QueueFull
            }
            TrySendError::Closed(_) => Error::NotDone,
        })?;
        // The writer answers everyone it has taken; it ends without an answer only if the process is being torn down.
        verdict.await.unwrap_or(Err(Error::OutcomeUnknown))
    }
}

struct Task {
    config: config::Store,
    batch_max: usize,
    timeout: Duration,
    waiting: mpsc::Receiver<Submission>,
    link: Option<Link>,
    /// Whether the last attempt came as far as sending its COMMIT.
    commit_sent: bool,
    reachable: Arc<AtomicBool>,
    health: Health,
    numbers: Numbers,
    bell: Arc<OnceLock<Bell>>,
}

/// Why a batch has no verdicts.
enum Failed {
    /// The server refused it for a reason that trying again does not cure.
    Refused(sqlx::Error),
    /// The server stayed away.
    Away,
}

impl Task {
    async fn run(mut self, drain: Drain) {
        let mut batch = Vec::new();
        loop {
            self.connect_if_needed(&drain).await;
            let quiet = if drain.is_stopping() { LINGER } else { PING_EVERY };
            let stopping = async {
                // Wakes a writer that waits for its next ping; afterwards the shorter wait holds.
                if drain.is_stopping() { std::future::pending().await } else { drain.stopping().await }
            };
            tokio::select! {
                biased;
                taken = self.waiting.recv_many(&mut batch, self.batch_max) => {
                    if taken == 0 {
                        return;
                    }
                    self.settle(std::mem::take(&mut batch)).await;
                }
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

    /// Answers everyone in the batch. A batch that the server refuses is halved until the command at fault stands alone, so that
    /// it cannot take its neighbours with it.
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
                Err(Failed::Refused(error)) if is_full(&error) => {
                    tracing::error!(error = %error, writes = batch.len(), "the store has no room");
                    for submission in batch {
                        let error = if unknown { Error::OutcomeUnknown } else { Error::NotDone };
                        let _ = submission.reply.send(Err(error));
                    }
                }
                Err(Failed::Refused(error)) if batch.len() > 1 => {
                    tracing::error!(error = %error, writes = batch.len(), "batch refused by the store; halving it");
                    let tail = batch.split_off(batch.len() / 2);
                    work.extend([tail, batch]);
                }
                Err(Failed::Refused(error)) => {
                    if let Some(submission) = batch.pop() {
                        let _ = submission.reply.send(Err(Error::Store(error)));
                    }
                }
                Err(Failed::Away) => {
                    for submission in batch {
                        let error = if unknown { Error::OutcomeUnknown } else { Error::NotDone };
                        let _ = submission.reply.send(Err(error));
                    }
                }
            }
        }
    }

    /// Tries the batch until it is committed, refused, or nobody waits any more. Whoever has left before a try is not judged.
    /// Sets `unknown` when a COMMIT may have arrived.
    async fn persist(
        &mut self,
        batch: &mut Vec<Submission>,
        unknown: &mut bool,
    ) -> Result<Vec<Verdict>, Failed> {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = PAUSE_FIRST;
        loop {
            batch.retain(|submission| !submission.reply.is_closed());
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            let begun = Instant::now();
            let error = match self.bounded_attempt(batch).await {
                Ok(verdicts) => {
                    self.numbers.batch(batch.len(), begun.elapsed());
                    self.set_reachable(true);
                    return Ok(verdicts);
                }
                Err(error) => error,
            };
            *unknown |= self.commit_sent;
            // Without a link nothing was asked yet: whatever kept us from connecting is no judgement of the batch.
            if self.link.is_none() || is_away(&error) {
                tracing::warn!(error = %error, unknown = *unknown, writes = batch.len(), "the store went away in mid-batch");
                self.link = None;
                self.set_reachable(false);
            } else if !self.recover(&error).await {
                return Err(Failed::Refused(error));
            }
            if Instant::now() + pause > give_up {
                return Err(Failed::Away);
            }
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
        let units = || batch.iter().map(|submission| &submission.unit);
        let connection = link.begin().await?;
        let view = batch::open(connection, units()).await?;
        let head = view.head;
        let judged = judge::judge(view, units());
        if !judged.is_empty() {
            batch::write(connection, head, &judged).await?;
        }
        self.commit_sent = !judged.is_empty();
        link.commit(!self.waiting.is_empty()).await?;
        if !judged.events.is_empty()
            && let Some(bell) = self.bell.get()
        {
            bell.ring();
        }
        Ok(judged.verdicts)
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
