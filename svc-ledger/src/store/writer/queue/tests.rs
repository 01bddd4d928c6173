//! The accounting of the queue: whatever comes and goes, room is neither lost nor made, order is kept and no unit is split.

use std::collections::VecDeque;

use chrono::NaiveDate;
use proptest::prelude::*;

use super::*;
use crate::domain::command::{Actor, Command, FailureMode, Request, Seed};
use crate::domain::request::{BodyHash, Key, Operation, Scope};

const WAITING_MAX: usize = 40;
const BATCH_MAX: usize = 20;

fn command(action: Action) -> Command {
    let actor = Actor { scope: Scope::of("test"), staff: true, customer: None, partner: None, rail: false };
    let seed = Seed { nonce: 0, salt: [0; 16] };
    Command { actor, seed, witness: None, linked: false, validate_only: false, action }
}

fn closing() -> Action {
    let key = Key { scope: Scope::of("test"), request_id: "close".to_owned() };
    let body = BodyHash::new(Operation::ClosePeriod, &key, &[b"day"]);
    Action::ClosePeriod(Request { key, body }, NaiveDate::MIN)
}

fn submission(commands: usize, closes: bool) -> (Submission, oneshot::Receiver<Reply>) {
    let action = |_| if closes { closing() } else { Action::Expire(uuid::Uuid::nil()) };
    let unit = Unit {
        commands: (0..commands).map(|place| command(action(place))).collect(),
        mode: FailureMode::Continue,
    };
    let (reply, answer) = oneshot::channel();
    (Submission { unit: Arc::new(unit), by: None, series: None, reply }, answer)
}

/// A future that is polled once: what it gives at once, if anything.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    use futures::FutureExt as _;
    future.now_or_never()
}

fn enter(entrance: &Entrance, submission: Submission) -> Result<(), Turned> {
    if submission.commands() == 1 {
        return entrance.enter_single(submission);
    }
    at_once(entrance.room(submission.commands())).unwrap_or(Err(Turned::Full))?.take(submission)
}

#[derive(Clone, Debug)]
enum Step {
    /// A unit of so many commands comes; whether it closes a period.
    Come(usize, bool),
    /// A caller waits for room and gives up.
    GiveUp(usize),
    /// The writer takes a batch.
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Come(1, false)),
        3 => (2..=30_usize).prop_map(|commands| Step::Come(commands, false)),
        1 => Just(Step::Come(1, true)),
        1 => (2..=30_usize).prop_map(Step::GiveUp),
        4 => Just(Step::Take),
    ]
}

proptest! {
    #[test]
    fn room_is_neither_lost_nor_made_and_order_is_kept(steps in prop::collection::vec(step(), 1..200)) {
        let (entrance, mut queue) = queue(WAITING_MAX, BATCH_MAX);
        let places = |room: &Room, commands: usize| room.places(commands) as usize;
        // Who waits, by number of commands and whether it stands alone.
        let mut waiting: VecDeque<(usize, bool)> = VecDeque::new();
        let mut answers = Vec::new();
        for step in steps.into_iter().chain(std::iter::repeat_n(Step::Take, 200)) {
            let taken = |room: &Room, single: bool, waiting: &VecDeque<(usize, bool)>| -> usize {
                waiting.iter().filter(|(n, _)| (*n == 1) == single).map(|(n, _)| places(room, *n)).sum()
            };
            let rooms = Arc::clone(&entrance.rooms);
            let singles = WAITING_MAX - taken(&rooms.singles, true, &waiting);
            let several = WAITING_MAX / 2 - taken(&rooms.several, false, &waiting);
            prop_assert_eq!(rooms.singles.free.available_permits(), singles);
            prop_assert_eq!(rooms.several.free.available_permits(), several);
            match step {
                Step::Come(commands, alone) => {
                    let (submission, answer) = submission(commands, alone);
                    let (room, free) =
                        if commands == 1 { (&rooms.singles, singles) } else { (&rooms.several, several) };
                    let fits = places(room, commands) <= free;
                    let entered = enter(&entrance, submission);
                    prop_assert_eq!(entered, if fits { Ok(()) } else { Err(Turned::Full) });
                    if fits {
                        waiting.push_back((commands, alone));
                        answers.push(answer);
                    }
                }
                Step::GiveUp(commands) => drop(at_once(entrance.room(commands))),
                Step::Take => {
                    prop_assert_eq!(queue.is_empty(), waiting.is_empty());
                    let Some(batch) = at_once(queue.batch()).flatten() else {
                        prop_assert!(waiting.is_empty());
                        continue;
                    };
                    let taken: Vec<_> =
                        batch.iter().map(|one| (one.commands(), one.is_alone())).collect();
                    let front: Vec<_> = waiting.drain(..taken.len()).collect();
                    prop_assert_eq!(&taken, &front);
                    let commands: usize = taken.iter().map(|(commands, _)| commands).sum();
                    prop_assert!(commands <= BATCH_MAX || taken.len() == 1);
                    prop_assert!(taken.len() == 1 || taken.iter().all(|(_, alone)| !alone));
                    // No smaller than it must be: the next one does not fit, or stands alone, or this one does.
                    if let Some((next, alone)) = waiting.front() {
                        prop_assert!(commands + next > BATCH_MAX || *alone || taken[0].1);
                    }
                }
            }
        }
        prop_assert!(waiting.is_empty() && queue.is_empty());
    }
}

#[test]
fn several_leave_singles_their_room_and_singles_leave_several_theirs() {
    let (entrance, _queue) = queue(WAITING_MAX, BATCH_MAX);
    let mut answers = Vec::new();
    let mut fill = |commands| loop {
        let (submission, answer) = submission(commands, false);
        match enter(&entrance, submission) {
            Ok(()) => answers.push(answer),
            Err(turned) => break assert_eq!(turned, Turned::Full),
        }
    };
    fill(5);
    assert_eq!(entrance.rooms.singles.free.available_permits(), WAITING_MAX);
    fill(1);
    assert_eq!(answers.len(), WAITING_MAX / 2 / 5 + WAITING_MAX);
}

#[test]
fn nothing_of_a_series_is_wanted_behind_one_that_failed() {
    let series = Series::default();
    let of_series = || {
        let (submission, answer) = submission(1, false);
        (Submission { series: Some(series.member()), ..submission }, answer)
    };
    let ((first, first_answer), (second, _second_answer)) = (of_series(), of_series());
    let (other, other_answer) = submission(1, false);
    assert!(first.is_wanted() && second.is_wanted());
    first.fail(Error::NotDone);
    assert!(matches!(first_answer.blocking_recv(), Ok(Err(Error::NotDone))));
    assert!(!second.is_wanted(), "its caller would take what is behind for done after what is before");
    assert!(other.is_wanted());
    drop(other_answer);
    assert!(!other.is_wanted(), "whoever has left is not judged");
}

#[test]
fn nothing_of_a_series_is_wanted_when_its_caller_is_gone() {
    let series = Series::default();
    let (waiting, _answer) = submission(1, false);
    let waiting = Submission { series: Some(series.member()), ..waiting };
    assert!(waiting.is_wanted());
    drop(series);
    assert!(!waiting.is_wanted(), "though its own answer may still be given up later than that before");
}

#[test]
fn whoever_waits_for_room_learns_that_the_writer_has_ended() {
    let (entrance, queue) = queue(WAITING_MAX, BATCH_MAX);
    drop(queue);
    assert!(matches!(at_once(entrance.room(2)), Some(Err(Turned::Closed))));
    assert_eq!(entrance.enter_single(submission(1, false).0), Err(Turned::Closed));
}
