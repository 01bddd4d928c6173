//! What waits for the writer, in the order of arrival. Bounds count commands, because commands are what costs; a unit is never
//! split. Units of several commands, and all of a series, have room of their own: however much of it arrives, a single transfer
//! finds the room it would have found without, and waits at most as many batches as both rooms fill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::domain::command::{Action, Unit};
use crate::domain::verdict::Verdict;
use crate::error::Error;

/// What a caller is answered: a verdict for each command, in order.
pub(super) type Reply = Result<Vec<Verdict>, Error>;

/// Units of one caller that must not overtake one another: once one of them has failed, or this is dropped, none behind it is judged
/// any more. What was made of a series is its beginning.
#[derive(Debug, Default)]
pub struct Series(Member);

/// A unit's part in a series: whether it is broken off.
#[derive(Clone, Debug, Default)]
pub(super) struct Member(Arc<AtomicBool>);

impl Series {
    /// Ends the series: what has not been tried yet will not be.
    pub fn break_off(&self) {
        self.0.break_off();
    }

    pub(super) fn member(&self) -> Member {
        self.0.clone()
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.break_off();
    }
}

impl Member {
    fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Commands that came together and who waits for their verdicts.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) unit: Arc<Unit>,
    /// By when the answer is of use; the writer's own patience if absent.
    pub(super) by: Option<Instant>,
    pub(super) series: Option<Member>,
    pub(super) reply: oneshot::Sender<Reply>,
}

impl Submission {
    /// Whether anybody still waits for it. It is looked at before the first try and before every other one, in order, so that of a
    /// series nothing is judged behind something that is not.
    pub(super) fn is_wanted(&self) -> bool {
        !self.reply.is_closed() && !self.series.as_ref().is_some_and(Member::is_broken)
    }

    /// Answers that nothing came of it.
    pub(super) fn fail(self, error: Error) {
        if let Some(series) = &self.series {
            series.break_off();
        }
        let _ = self.reply.send(Err(error));
    }

    fn commands(&self) -> usize {
        self.unit.commands.len()
    }

    /// Whether it must have a batch of its own: a period is closed over the balances before the batch.
    fn is_alone(&self) -> bool {
        self.unit.commands.iter().any(|command| matches!(command.action, Action::ClosePeriod(..)))
    }
}

/// Room for commands that wait.
#[derive(Debug)]
struct Room {
    free: Semaphore,
    size: u32,
}

impl Room {
    fn new(size: usize) -> Self {
        let size = u32::try_from(size.max(1)).unwrap_or(u32::MAX);
        Self { free: Semaphore::new(size as usize), size }
    }

    /// A unit larger than the room takes all of it, rather than never to get in.
    fn places(&self, commands: usize) -> u32 {
        u32::try_from(commands).unwrap_or(u32::MAX).min(self.size)
    }
}

#[derive(Debug)]
struct Rooms {
    singles: Room,
    several: Room,
}

impl Rooms {
    fn of(&self, submission: &Submission) -> &Room {
        if submission.commands() == 1 && submission.series.is_none() { &self.singles } else { &self.several }
    }
}

/// Why a unit does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Too many wait already.
    Full,
    /// The writer has ended.
    Closed,
}

/// Where callers come in.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    // Bounded by the rooms: nothing is sent that has no place.
    line: UnboundedSender<Submission>,
    rooms: Arc<Rooms>,
}

/// A place for a unit that is yet to be sent.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a UnboundedSender<Submission>,
    permit: SemaphorePermit<'a>,
}

impl Place<'_> {
    /// Lets the unit wait there. It is one of several commands, or of a series.
    pub(super) fn take(self, submission: Submission) -> Result<(), Turned> {
        // Its places are free again when the writer has taken it out.
        self.permit.forget();
        self.line.send(submission).map_err(|_| Turned::Closed)
    }
}

impl Entrance {
    /// Lets a command wait, if there is room at once.
    pub(super) fn enter_single(&self, submission: Submission) -> Result<(), Turned> {
        debug_assert!(submission.commands() == 1 && submission.series.is_none());
        let permit = self.rooms.singles.free.try_acquire().map_err(|refused| match refused {
            tokio::sync::TryAcquireError::NoPermits => Turned::Full,
            tokio::sync::TryAcquireError::Closed => Turned::Closed,
        })?;
        Place { line: &self.line, permit }.take(submission)
    }

    /// Waits for room for a unit of so many commands, behind those who came before.
    pub(super) async fn room(&self, commands: usize) -> Result<Place<'_>, Turned> {
        let room = &self.rooms.several;
        let permit = room.free.acquire_many(room.places(commands)).await.map_err(|_| Turned::Closed)?;
        Ok(Place { line: &self.line, permit })
    }
}

/// Where the writer takes its batches.
#[derive(Debug)]
pub(super) struct Queue {
    line: UnboundedReceiver<Submission>,
    /// The first of the line, if it did not fit into the batch before.
    first: Option<Submission>,
    rooms: Arc<Rooms>,
    batch_max: usize,
}

/// A queue with room for `waiting_max` single commands, and half as many in units of several, taken out in batches of at most
/// `batch_max` commands.
pub(super) fn queue(waiting_max: usize, batch_max: usize) -> (Entrance, Queue) {
    let (sender, line) = unbounded_channel();
    let rooms =
        Arc::new(Rooms { singles: Room::new(waiting_max), several: Room::new(waiting_max.div_ceil(2)) });
    let entrance = Entrance { line: sender, rooms: Arc::clone(&rooms) };
    (entrance, Queue { line, first: None, rooms, batch_max })
}

impl Queue {
    /// Waits for the next batch: what has gathered, up to the bound; a larger unit alone. `None` when nobody can come any more.
    /// Nothing is lost when the wait is given up.
    pub(super) async fn batch(&mut self) -> Option<Vec<Submission>> {
        let first = match self.first.take() {
            Some(first) => first,
            None => self.line.recv().await?,
        };
        let (mut commands, alone) = (first.commands(), first.is_alone());
        let mut batch = Vec::with_capacity(self.batch_max.min(1 + self.line.len()));
        batch.push(first);
        while !alone && commands < self.batch_max {
            let Ok(next) = self.line.try_recv() else { break };
            if commands + next.commands() > self.batch_max || next.is_alone() {
                self.first = Some(next);
                break;
            }
            commands += next.commands();
            batch.push(next);
        }
        self.give_back(&batch);
        Some(batch)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.line.is_empty()
    }

    fn give_back(&self, batch: &[Submission]) {
        let (mut singles, mut several) = (0, 0);
        for submission in batch {
            let room = self.rooms.of(submission);
            let places = room.places(submission.commands()) as usize;
            *(if std::ptr::eq(room, &self.rooms.singles) { &mut singles } else { &mut several }) += places;
        }
        // Once a batch and not once a unit: waiters are woken under the semaphore's lock.
        self.rooms.singles.free.add_permits(singles);
        self.rooms.several.free.add_permits(several);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Whoever waits for room learns that there will be none.
        self.rooms.singles.free.close();
        self.rooms.several.free.close();
    }
}

#[cfg(test)]
mod tests;
