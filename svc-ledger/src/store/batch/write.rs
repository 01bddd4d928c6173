//! Writes a judged batch, each list of rows as one array a column, in the order of `ledger.write_batch`'s parameters.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use crate::domain::account::{Account, Amount};
use crate::domain::grant::Grant;
use crate::domain::journal::{Row, Side};
use crate::domain::judge::Judged;
use crate::domain::verdict::{Outcome, TransferState};
use crate::domain::view::{Head, Hold};
use crate::error::verdict_reason;

type Bound = Query<'static, Postgres, PgArguments>;

/// Writes a judged batch; `before` is the head it was judged on.
pub(in crate::store) async fn write(
    connection: &mut PgConnection,
    before: Head,
    judged: &Judged,
) -> Result<(), sqlx::Error> {
    let head_after = judged.rows.last().map_or(before.seq, |row| row.seq);
    let (root, hash_after) =
        judged.batch.as_ref().map_or(([0; 32], before.hash), |batch| (batch.root, batch.hash));
    let query = sqlx::query(WRITE)
        .bind(before.seq)
        .bind(head_after)
        .bind(before.hash)
        .bind(hash_after)
        .bind(root)
        .bind(before.now);
    let query = bind_journal(query, &judged.rows);
    let query = bind_changed(query, &judged.changed);
    let query = bind_outcomes(query, judged);
    let query = bind_opened(query, judged);
    let query = bind_holds(query, &judged.holds);
    let query = bind_grants(query, &judged.grants);
    let query = bind_resolved(query, &judged.resolved);
    let query = bind_events(query, judged);
    query.execute(connection).await?;
    Ok(())
}

/// A line for each list of rows: the journal, changed accounts, outcomes, details, accounts opened, their parties, holds, grants,
/// resolved holds, audit events.
const WRITE: &str = "SELECT ledger.write_batch($1, $2, $3, $4, $5, $6, \
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, \
    $28, $29, $30, $31, $32, $33, \
    $34, $35, $36, $37, $38, $39, $40, \
    $41, $42, $43, $44, $45, \
    $46, $47, $48, \
    $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, \
    $60, $61, \
    $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, \
    $72, $73, $74, $75, $76, $77, $78, $79, $80, \
    $81, $82, $83, $84, $85, \
    $86, $87, $88, $89)";

fn column<T, U>(items: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    items.iter().map(of).collect()
}

fn bind_journal(query: Bound, rows: &[Row]) -> Bound {
    let debit = |of: fn(&Side) -> i64| column(rows, |row| row.debit.as_ref().map(of));
    let credit = |of: fn(&Side) -> i64| column(rows, |row| row.credit.as_ref().map(of));
    query
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.seq))
        .bind(column(rows, |row| row.kind as i16))
        .bind(column(rows, |row| row.currency.numeric()))
        .bind(column(rows, |row| row.flags))
        .bind(debit(|side| side.account))
        .bind(credit(|side| side.account))
        .bind(column(rows, |row| row.amount))
        .bind(debit(|side| side.version))
        .bind(debit(|side| side.posted))
        .bind(debit(|side| side.held))
        .bind(debit(|side| side.expected))
        .bind(credit(|side| side.version))
        .bind(credit(|side| side.posted))
        .bind(credit(|side| side.held))
        .bind(credit(|side| side.expected))
        .bind(column(rows, |row| row.floor))
        .bind(column(rows, |row| row.revision))
        .bind(column(rows, |row| row.reference))
        .bind(column(rows, |row| *row.actor.as_bytes()))
        .bind(column(rows, |row| row.party.clone()))
        .bind(column(rows, |row| row.detail_hash))
        .bind(column(rows, |row| row.consent.map(|taken| taken.consent)))
        .bind(column(rows, |row| row.consent.map(|taken| taken.used)))
        .bind(column(rows, |row| row.bounds.and_then(|bounds| minor_units(bounds.per_transfer_max))))
        .bind(column(rows, |row| row.bounds.and_then(|bounds| minor_units(bounds.total_max))))
        .bind(column(rows, |row| row.bounds.map(|bounds| bounds.expires_at)))
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
        .bind(column(&judged.details, |(_, detail)| detail.salt))
}

fn bind_opened(query: Bound, judged: &Judged) -> Bound {
    let opened = &judged.opened;
    query
        .bind(column(opened, |account| account.no))
        .bind(column(opened, |account| account.id))
        .bind(column(opened, |account| account.currency.numeric()))
        .bind(column(opened, |account| account.purpose as i16))
        .bind(column(opened, |account| account.floor))
        .bind(column(opened, |account| account.state_revision))
        .bind(column(opened, |account| account.version))
        .bind(column(opened, |account| account.totals.dr_posted))
        .bind(column(opened, |account| account.totals.cr_posted))
        .bind(column(opened, |account| account.totals.dr_pending))
        .bind(column(opened, |account| account.totals.cr_pending))
        .bind(column(&judged.parties, |(account, _)| *account))
        .bind(column(&judged.parties, |(_, customer)| customer.clone()))
}

/// What is left of a hold, and what of it was posted.
fn split(hold: &Hold) -> (i64, i64) {
    match hold.state {
        TransferState::Pending => (hold.amount, 0),
        TransferState::Posted => (0, hold.amount),
        TransferState::Voided => (0, 0),
    }
}

fn bind_holds(query: Bound, holds: &[(Uuid, Hold)]) -> Bound {
    query
        .bind(column(holds, |(id, _)| *id))
        .bind(column(holds, |(_, hold)| *hold.creator.as_bytes()))
        .bind(column(holds, |(_, hold)| hold.debit))
        .bind(column(holds, |(_, hold)| hold.credit))
        .bind(column(holds, |(_, hold)| hold.amount))
        .bind(column(holds, |(_, hold)| split(hold).0))
        .bind(column(holds, |(_, hold)| split(hold).1))
        .bind(column(holds, |(_, hold)| hold.state as i16))
        .bind(column(holds, |(_, hold)| hold.consent))
        .bind(column(holds, |(_, hold)| hold.resolved_by))
}

fn bind_grants(query: Bound, grants: &[Grant]) -> Bound {
    query
        .bind(column(grants, |grant| grant.terms.consent))
        .bind(column(grants, |grant| grant.account))
        .bind(column(grants, |grant| grant.terms.partner.clone()))
        .bind(column(grants, |grant| grant.terms.scopes.bits()))
        .bind(column(grants, |grant| minor_units(grant.terms.per_transfer_max)))
        .bind(column(grants, |grant| minor_units(grant.terms.total_max)))
        .bind(column(grants, |grant| grant.used))
        .bind(column(grants, |grant| grant.terms.expires_at))
        .bind(column(grants, |grant| grant.terms.revision))
}

fn bind_resolved(query: Bound, resolved: &[(Uuid, Hold)]) -> Bound {
    query
        .bind(column(resolved, |(id, _)| *id))
        .bind(column(resolved, |(_, hold)| split(hold).0))
        .bind(column(resolved, |(_, hold)| split(hold).1))
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
