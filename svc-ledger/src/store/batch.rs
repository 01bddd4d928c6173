//! One batch against the server: [`open()`] locks the head and reads what the commands concern, [`write()`] writes what was judged.
//! Each is one statement, one round trip, with columns as arrays; the SQL is in the migrations. A large batch is judged and written in
//! parts, so that the server writes one while the next is judged.

mod memory;
mod open;
mod write;

use std::sync::Arc;

use sqlx::PgConnection;

pub(super) use memory::Memory;

use self::{open::open, write::write};
use crate::domain::command::Unit;
use crate::domain::judge::{Judged, judge};
use crate::domain::verdict::Verdict;
use crate::domain::view::View;

/// How many commands make a part worth its call: it costs the server half a millisecond, as much as judging 200 takes.
const PART: usize = 600;

/// A batch that is written, and not committed yet.
pub(super) struct Written {
    /// One a command, in order.
    pub(super) verdicts: Vec<Verdict>,
    /// Whether nothing was written: every command had been answered before.
    pub(super) is_empty: bool,
    /// Whether the audit will be told something.
    pub(super) has_events: bool,
    /// What the batch concerned, as it stands after it.
    pub(super) after: View,
}

/// Judges units against what the server and the memory say under the head lock, and writes what comes of it.
pub(super) async fn settle(
    connection: &mut PgConnection,
    units: &[Arc<Unit>],
    memory: Memory,
) -> Result<Written, sqlx::Error> {
    let view = open(connection, units.iter().map(AsRef::as_ref), memory).await?;
    let mut written = Written { verdicts: Vec::new(), is_empty: true, has_events: false, after: view };
    let mut under_way = None;
    for part in parts(units) {
        let before = written.after.head;
        let judged;
        (judged, written.after) = match under_way.take() {
            None => judge(written.after, part.iter().map(AsRef::as_ref)),
            Some((head, judged)) => {
                let aside = judge_aside(written.after, part.to_vec());
                let ((), next) = tokio::try_join!(write(connection, head, &judged), aside)?;
                written.verdicts.extend(judged.verdicts);
                next
            }
        };
        written.is_empty &= judged.is_empty();
        written.has_events |= !judged.events.is_empty();
        under_way = Some((before, judged));
    }
    if let Some((head, judged)) = under_way {
        write(connection, head, &judged).await?;
        written.verdicts.extend(judged.verdicts);
    }
    Ok(written)
}

/// Cuts units into parts of about the same number of commands. A unit stays whole.
fn parts(units: &[Arc<Unit>]) -> impl Iterator<Item = &[Arc<Unit>]> {
    let commands: usize = units.iter().map(|unit| unit.commands.len()).sum();
    let most = commands.div_ceil(commands.div_ceil(PART).max(1));
    let mut left = units;
    std::iter::from_fn(move || {
        let mut commands = 0;
        let full = left.iter().position(|unit| {
            commands += unit.commands.len();
            commands >= most
        });
        let part;
        (part, left) = left.split_at(full.map_or(left.len(), |last| last + 1));
        (!part.is_empty()).then_some(part)
    })
}

/// Judges on another thread, which nothing but the result depends on.
async fn judge_aside(view: View, units: Vec<Arc<Unit>>) -> Result<(Judged, View), sqlx::Error> {
    let judging = tokio::task::spawn_blocking(move || judge(view, units.iter().map(AsRef::as_ref)));
    match judging.await {
        Ok(judged) => Ok(judged),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process is being torn down.
        Err(error) => Err(sqlx::Error::Io(std::io::Error::other(error))),
    }
}

/// A statement that ends in a call with so many parameters.
fn call(statement: &str, parameters: usize) -> String {
    let places: Vec<String> = (1..=parameters).map(|place| format!("${place}")).collect();
    format!("{statement}({})", places.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::command::{Action, Actor, Command, FailureMode, Seed};
    use crate::domain::request::Scope;

    fn unit(commands: usize) -> Arc<Unit> {
        let actor =
            Actor { scope: Scope::of("test"), staff: true, customer: None, partner: None, rail: false };
        let seed = Seed { nonce: 0, salt: [0; 16] };
        let action = Action::Expire(uuid::Uuid::nil());
        let command = Command { actor, seed, witness: None, linked: false, validate_only: false, action };
        Arc::new(Unit { commands: vec![command; commands], mode: FailureMode::Continue })
    }

    proptest! {
        #[test]
        fn parts_are_all_units_in_order(sizes in prop::collection::vec(1..40_usize, 0..200)) {
            let units: Vec<Arc<Unit>> = sizes.iter().copied().map(unit).collect();
            let parts: Vec<&[Arc<Unit>]> = parts(&units).collect();
            let (all, again) = (units.iter(), parts.iter().copied().flatten());
            prop_assert!(all.map(Arc::as_ptr).eq(again.map(Arc::as_ptr)));
            for part in &parts {
                let commands: usize = part.iter().map(|unit| unit.commands.len()).sum();
                prop_assert!((1..PART + 40).contains(&commands), "{} commands", commands);
            }
            prop_assert_eq!(parts.len() <= 1, sizes.iter().sum::<usize>() <= PART);
        }
    }
}
