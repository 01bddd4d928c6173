//! Rows and totals of the journal as they are answered.

use proto::ledger::v1 as pb;
use uuid::Uuid;

use super::{account_type, date, display_name, money, timestamp};
use crate::domain::currency::Currency;
use crate::domain::journal::{Kind, Side};
use crate::domain::verdict::Party;
use crate::store::read::{Totals, Watched};

/// A row of the journal, without texts.
pub(in crate::rpc) fn row(watched: &Watched) -> pb::JournalRow {
    let row = &watched.row;
    let currency = row.currency;
    pb::JournalRow {
        row_id: row.id.to_string(),
        seq: row.seq,
        kind: kind(row.kind).into(),
        book_time: Some(timestamp(row.booked_at)),
        debit: side(row.debit, watched.debit, currency),
        credit: side(row.credit, watched.credit, currency),
        amount: currency.zip(row.amount).map(|(currency, amount)| money(currency, amount)),
        transfer_id: transfer(row.kind, row.id, row.reference),
        chain_seq: row.link.unwrap_or_default(),
        value_date: row.value_date.map(date),
    }
}

fn side(side: Option<Side>, party: Option<Party>, currency: Option<Currency>) -> Option<pb::JournalSide> {
    let ((side, party), currency) = side.zip(party).zip(currency)?;
    Some(pb::JournalSide {
        account_id: display_name(party.id, party.purpose, currency),
        version: side.version,
        posted_minor_units: side.posted,
        held_minor_units: side.held,
        expected_minor_units: side.expected,
    })
}

fn transfer(kind: Kind, id: Uuid, reference: Option<Uuid>) -> String {
    let transfer = match kind {
        Kind::Transfer | Kind::Hold => Some(id),
        Kind::Increment | Kind::Post | Kind::Void | Kind::Expire | Kind::Reverse => reference,
        Kind::Open | Kind::Limits | Kind::State | Kind::Party | Kind::Grant | Kind::ClosePeriod => None,
    };
    transfer.map(|id| id.to_string()).unwrap_or_default()
}

fn kind(kind: Kind) -> pb::JournalKind {
    match kind {
        Kind::Open => pb::JournalKind::Open,
        Kind::Limits => pb::JournalKind::Limits,
        Kind::State => pb::JournalKind::State,
        Kind::Party => pb::JournalKind::Party,
        Kind::Grant => pb::JournalKind::Grant,
        Kind::Transfer => pb::JournalKind::Transfer,
        Kind::Hold => pb::JournalKind::Hold,
        Kind::Increment => pb::JournalKind::Increment,
        Kind::Post => pb::JournalKind::Post,
        Kind::Void => pb::JournalKind::Void,
        Kind::Expire => pb::JournalKind::Expire,
        Kind::Reverse => pb::JournalKind::Reverse,
        Kind::ClosePeriod => pb::JournalKind::ClosePeriod,
    }
}

/// The totals of all accounts.
pub(in crate::rpc) fn totals(totals: &Totals) -> pb::TrialBalance {
    let line = |(currency, chart, line): (
        &'static str,
        crate::domain::account::Chart,
        crate::domain::period::Line,
    )| {
        pb::TrialBalanceLine {
            currency_code: currency.to_owned(),
            gl_code: chart.gl_code,
            account_type: account_type(chart.kind).into(),
            accounts: line.accounts,
            debits: line.debits.to_string(),
            credits: line.credits.to_string(),
            balance: (line.credits - line.debits).to_string(),
        }
    };
    pb::TrialBalance {
        seq: totals.seq,
        book_time: (totals.seq > 0).then(|| timestamp(totals.booked_at)),
        lines: totals.balance.lines().map(line).collect(),
        hash: totals.balance.hash().to_vec(),
    }
}
