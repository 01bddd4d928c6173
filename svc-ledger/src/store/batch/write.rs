//! Writes a judged batch, each list of rows as one array a column, in the order of `ledger.write_batch`'s parameters.

use std::sync::LazyLock;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::call;
use crate::domain::account::{Account, Amount};
use crate::domain::currency::Currency;
use crate::domain::journal::{Row, Side};
use crate::domain::judge::Judged;
use crate::domain::verdict::Outcome;
use crate::domain::view::{Head, Hold};
use crate::error::verdict_reason;

mod settings;

type Bound = Query<'static, Postgres, PgArguments>;

/// Writes what was judged, if there is anything to write; `before` is the head it was judged on.
pub(super) async fn write(
    connection: &mut PgConnection,
    before: Head,
    judged: &Judged,
) -> Result<(), sqlx::Error> {
    if judged.is_empty() {
        return Ok(());
    }
    if settings::are_in(judged) {
        settings::write(connection, before, judged).await?;
    }
    let head_after = judged.rows.last().map_or(before.seq, |row| row.seq);
    let (root, hash_after) =
        judged.batch.as_ref().map_or(([0; 32], before.hash), |batch| (batch.root, batch.hash));
    let query = sqlx::query(WRITE.as_str())
        .bind(before.seq)
        .bind(head_after)
        .bind(before.hash)
        .bind(hash_after)
        .bind(root)
        .bind(before.now);
    let query = bind_journal(query, &judged.rows);
    let query = bind_changed(query, &judged.changed);
    let query = bind_outcomes(query, judged);
    let query = bind_holds(query, &judged.holds);
    let query = bind_resolved(query, &judged.resolved);
    let query = bind_events(query, judged);
    query.execute(connection).await?;
    Ok(())
}

/// How many parameters `ledger.write_batch` has.
const PARAMETERS: usize = 83;
static WRITE: LazyLock<String> = LazyLock::new(|| call("SELECT ledger.write_batch", PARAMETERS));

fn column<T, U>(items: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    items.iter().map(of).collect()
}

/// The same of what most items do not have. A column that none has is not sent: the function takes null for as many as there are.
fn sparse<T, U>(items: &[T], of: impl Fn(&T) -> Option<U>) -> Option<Vec<Option<U>>> {
    let values = column(items, of);
    values.iter().any(Option::is_some).then_some(values)
}

fn bind_journal(query: Bound, rows: &[Row]) -> Bound {
    let debit = |of: fn(&Side) -> i64| column(rows, |row| row.debit.as_ref().map(of));
    let credit = |of: fn(&Side) -> i64| column(rows, |row| row.credit.as_ref().map(of));
    query
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.seq))
        .bind(column(rows, |row| row.kind as i16))
        .bind(column(rows, |row| row.currency.map(Currency::numeric)))
        .bind(column(rows, |row| row.flags))
        .bind(debit(|side| side.account))
        .bind(credit(|side| side.account))
        .bind(column(rows, |row| row.amount))
        .bind(sparse(rows, |row| row.remaining))
        .bind(debit(|side| side.version))
        .bind(debit(|side| side.posted))
        .bind(debit(|side| side.held))
        .bind(debit(|side| side.expected))
        .bind(credit(|side| side.version))
        .bind(credit(|side| side.posted))
        .bind(credit(|side| side.held))
        .bind(credit(|side| side.expected))
        .bind(sparse(rows, |row| row.floor))
        .bind(sparse(rows, |row| row.ceiling))
        .bind(sparse(rows, |row| row.revision))
        .bind(sparse(rows, |row| row.link))
        .bind(sparse(rows, |row| row.reference))
        .bind(sparse(rows, |row| row.gl_code))
        .bind(sparse(rows, |row| row.value_date))
        .bind(column(rows, |row| *row.actor.as_bytes()))
        .bind(sparse(rows, |row| row.party.clone()))
        .bind(sparse(rows, |row| row.detail_hash))
        .bind(column(rows, |row| row.salt))
        .bind(sparse(rows, |row| row.exchange.as_ref().map(|exchange| exchange.quote.clone())))
        .bind(sparse(rows, |row| row.exchange.as_ref().map(|exchange| exchange.rate.clone())))
        .bind(sparse(rows, |row| row.consent.map(|taken| taken.consent)))
        .bind(sparse(rows, |row| row.consent.map(|taken| taken.used)))
        .bind(sparse(rows, |row| row.bounds.and_then(|bounds| minor_units(bounds.per_transfer_max))))
        .bind(sparse(rows, |row| row.bounds.and_then(|bounds| minor_units(bounds.total_max))))
        .bind(sparse(rows, |row| row.bounds.map(|bounds| bounds.expires_at).or(row.expires_at)))
}

fn minor_units(cap: Option<Amount>) -> Option<i64> {
    cap.map(Amount::minor_units)
}

fn bind_changed(query: Bound, changed: &[(i64, Account)]) -> Bound {
    query
        .bind(column(changed, |(_, account)| account.no))
        .bind(column(changed, |(before, _)| *before))
        .bind(column(changed, |(_, account)| account.version))
        .bind(column(changed, |(_, account)| account.totals.dr_posted))
        .bind(column(changed, |(_, account)| account.totals.cr_posted))
        .bind(column(changed, |(_, account)| account.totals.dr_pending))
        .bind(column(changed, |(_, account)| account.totals.cr_pending))
}

fn bind_outcomes(query: Bound, judged: &Judged) -> Bound {
    let outcomes = &judged.outcomes;
    let number = |outcome: &Outcome| match outcome {
        Outcome::Accepted(_) => 0,
        Outcome::Refused(refusal) => *refusal as i16,
    };
    let row = |outcome: &Outcome| match outcome {
        Outcome::Accepted(row) => Some(*row),
        Outcome::Refused(_) => None,
    };
    query
        .bind(column(outcomes, |(key, ..)| *key.scope.as_bytes()))
        .bind(column(outcomes, |(key, ..)| key.request_id.clone()))
        .bind(column(outcomes, |(_, body, _)| body.as_bytes().to_vec()))
        .bind(column(outcomes, |(.., outcome)| number(outcome)))
        .bind(column(outcomes, |(.., outcome)| row(outcome)))
        .bind(column(&judged.details, |(transfer, _)| *transfer))
        .bind(column(&judged.details, |(_, detail)| detail.reference.clone()))
        .bind(column(&judged.details, |(_, detail)| detail.payee.as_ref().map(|payee| payee.iban.clone())))
        .bind(column(&judged.details, |(_, detail)| detail.payee.as_ref().map(|payee| payee.name.clone())))
        .bind(column(&judged.details, |(_, detail)| detail.salt))
}

fn bind_holds(query: Bound, holds: &[(Uuid, Hold)]) -> Bound {
    query
        .bind(column(holds, |(id, _)| *id))
        .bind(column(holds, |(_, hold)| *hold.creator.as_bytes()))
        .bind(column(holds, |(_, hold)| hold.debit))
        .bind(column(holds, |(_, hold)| hold.credit))
        .bind(column(holds, |(_, hold)| hold.amount))
        .bind(column(holds, |(_, hold)| hold.remaining))
        .bind(column(holds, |(_, hold)| hold.captured))
        .bind(column(holds, |(_, hold)| hold.state as i16))
        .bind(column(holds, |(_, hold)| hold.external))
        .bind(column(holds, |(_, hold)| hold.exchange))
        .bind(column(holds, |(_, hold)| hold.link))
        .bind(column(holds, |(_, hold)| hold.value_date))
        .bind(column(holds, |(_, hold)| hold.expires_at))
        .bind(column(holds, |(_, hold)| hold.consent))
        .bind(column(holds, |(_, hold)| hold.resolved_by))
}

fn bind_resolved(query: Bound, resolved: &[(Uuid, Hold)]) -> Bound {
    query
        .bind(column(resolved, |(id, _)| *id))
        .bind(column(resolved, |(_, hold)| hold.amount))
        .bind(column(resolved, |(_, hold)| hold.remaining))
        .bind(column(resolved, |(_, hold)| hold.captured))
        .bind(column(resolved, |(_, hold)| hold.state as i16))
        .bind(column(resolved, |(_, hold)| hold.resolved_by))
}

fn bind_events(query: Bound, judged: &Judged) -> Bound {
    let events = &judged.events;
    query
        .bind(column(events, |event| event.id))
        .bind(column(events, |event| event.call.clone()))
        .bind(column(events, |event| judged.verdicts.get(event.place).and_then(verdict_reason)))
        .bind(column(events, |event| event.resource.clone()))
}
