//! A statement as CSV (RFC 4180): a header, the opening balance, a line for each entry, the closing balance. Text that others
//! have chosen is guarded, because a spreadsheet takes a cell that begins like a formula for one.
use ::csv::{Terminator, Writer, WriterBuilder};

use super::super::Entry;
use super::{Head, RenderError, timestamp};

const HEADER: [&str; 8] =
    ["kind", "time", "transfer_id", "amount", "balance", "currency", "counterparty_account_id", "reference"];

/// Holds the closing line, which is known from the start.
#[derive(Debug)]
pub struct Pen {
    closing: [String; 8],
}

impl Pen {
    pub(super) fn begin(head: &Head<'_>) -> Result<(Self, Vec<u8>), RenderError> {
        let balance = |kind: &str, time, balance: &super::Money| {
            let none = String::new;
            let (text, currency) = (balance.decimal(), balance.currency.clone());
            [kind.to_owned(), timestamp(time), none(), none(), text, currency, none(), none()]
        };
        let mut rows = writer();
        rows.write_record(HEADER)?;
        rows.write_record(balance("opening", head.period.start(), head.opening))?;
        let closing = balance("closing", head.period.end(), head.closing);
        Ok((Self { closing }, finish(rows)?))
    }

    pub(super) fn entries(&mut self, entries: &[Entry]) -> Result<Vec<u8>, RenderError> {
        let mut rows = writer();
        for entry in entries {
            rows.write_record([
                "entry",
                &timestamp(entry.booked),
                &guarded(&entry.transfer_id),
                &entry.amount.decimal(),
                &entry.balance_after.decimal(),
                &guarded(&entry.amount.currency),
                &guarded(&entry.counterparty_account_id),
                &guarded(&entry.reference),
            ])?;
        }
        finish(rows)
    }

    pub(super) fn end(self) -> Result<Vec<u8>, RenderError> {
        let mut rows = writer();
        rows.write_record(self.closing)?;
        finish(rows)
    }
}

/// Puts an apostrophe before text that a spreadsheet would compute (OWASP, CSV injection; full-width signs count too, and
/// white space before them does not help). Amounts are not text: their minus is meant.
fn guarded(text: &str) -> String {
    let begins =
        |c: char| matches!(c, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
    let starts_with_space = text.starts_with(['\t', '\r', '\n']);
    if starts_with_space || text.trim_start().starts_with(begins) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

fn finish(rows: Writer<Vec<u8>>) -> Result<Vec<u8>, RenderError> {
    rows.into_inner().map_err(|_| RenderError::Rows)
}
