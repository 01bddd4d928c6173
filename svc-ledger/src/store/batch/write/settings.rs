//! What is rare in a batch: accounts opened or set, grants, reversals, periods. A call of its own, so that most batches do not
//! carry the columns of it.

use std::sync::LazyLock;

use sqlx::PgConnection;

use super::{column, minor_units};
use crate::domain::judge::Judged;
use crate::domain::view::Head;
use crate::store::batch::call;

/// How many parameters `ledger.write_settings` has.
const PARAMETERS: usize = 37;
static WRITE: LazyLock<String> = LazyLock::new(|| call("SELECT ledger.write_settings", PARAMETERS));

/// Whether there is anything of that in it.
pub(super) fn are_in(judged: &Judged) -> bool {
    !(judged.opened.is_empty()
        && judged.settings.is_empty()
        && judged.grants.is_empty()
        && judged.reversals.is_empty()
        && judged.periods.is_empty())
}

pub(super) async fn write(
    connection: &mut PgConnection,
    before: Head,
    judged: &Judged,
) -> Result<(), sqlx::Error> {
    let (opened, set) = (&judged.opened, &judged.settings);
    let (grants, periods) = (&judged.grants, &judged.periods);
    sqlx::query(WRITE.as_str())
        .bind(before.now)
        .bind(column(opened, |account| account.no))
        .bind(column(opened, |account| account.id))
        .bind(column(opened, |account| account.currency.numeric()))
        .bind(column(opened, |account| account.purpose as i16))
        .bind(column(opened, |account| account.chart.kind as i16))
        .bind(column(opened, |account| account.chart.gl_code))
        .bind(column(opened, |account| account.floor))
        .bind(column(opened, |account| account.ceiling))
        .bind(column(opened, |account| account.state as i16))
        .bind(column(opened, |account| account.state_revision))
        .bind(column(opened, |account| account.version))
        .bind(column(opened, |account| account.totals.dr_posted))
        .bind(column(opened, |account| account.totals.cr_posted))
        .bind(column(opened, |account| account.totals.dr_pending))
        .bind(column(opened, |account| account.totals.cr_pending))
        .bind(column(&judged.parties, |(account, _)| *account))
        .bind(column(&judged.parties, |(_, customer)| customer.clone()))
        .bind(column(set, |account| account.no))
        .bind(column(set, |account| account.floor))
        .bind(column(set, |account| account.ceiling))
        .bind(column(set, |account| account.state as i16))
        .bind(column(set, |account| account.state_revision))
        .bind(column(grants, |grant| grant.terms.consent))
        .bind(column(grants, |grant| grant.account))
        .bind(column(grants, |grant| grant.terms.partner.clone()))
        .bind(column(grants, |grant| grant.terms.scopes.bits()))
        .bind(column(grants, |grant| minor_units(grant.terms.per_transfer_max)))
        .bind(column(grants, |grant| minor_units(grant.terms.total_max)))
        .bind(column(grants, |grant| grant.used))
        .bind(column(grants, |grant| grant.terms.expires_at))
        .bind(column(grants, |grant| grant.terms.revision))
        .bind(column(&judged.reversals, |(transfer, _)| *transfer))
        .bind(column(&judged.reversals, |(_, by)| *by))
        .bind(column(periods, |period| period.end_date))
        .bind(column(periods, |period| period.seq))
        .bind(column(periods, |period| period.trial_balance))
        .execute(connection)
        .await?;
    Ok(())
}
