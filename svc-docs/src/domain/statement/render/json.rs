//! A statement as one JSON object, spelled as the REST API spells the same things: lower camel case, 64-bit numbers as text.
use serde::Serialize;

use super::super::Entry;
use super::super::money::Money;
use super::{Head, RenderError, timestamp};

/// Knows whether a comma is due.
#[derive(Debug)]
pub struct Pen {
    first: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Amount<'a> {
    currency_code: &'a str,
    minor_units: String,
}

impl<'a> From<&'a Money> for Amount<'a> {
    fn from(money: &'a Money) -> Self {
        Self { currency_code: &money.currency, minor_units: money.minor_units.to_string() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Top<'a> {
    account_id: &'a str,
    start_time: String,
    end_time: String,
    opening_balance: Amount<'a>,
    closing_balance: Amount<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    transfer_id: &'a str,
    amount: Amount<'a>,
    balance_after: Amount<'a>,
    counterparty_account_id: &'a str,
    reference: &'a str,
    book_time: String,
}

impl Pen {
    pub(super) fn begin(head: &Head<'_>) -> Result<(Self, Vec<u8>), RenderError> {
        let mut bytes = serde_json::to_vec(&Top {
            account_id: head.account_id.as_str(),
            start_time: timestamp(head.period.start()),
            end_time: timestamp(head.period.end()),
            opening_balance: head.opening.into(),
            closing_balance: head.closing.into(),
        })?;
        // The object stays open for the entries.
        bytes.pop();
        bytes.extend_from_slice(b",\"entries\":[");
        Ok((Self { first: true }, bytes))
    }

    pub(super) fn entries(&mut self, entries: &[Entry]) -> Result<Vec<u8>, RenderError> {
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend_from_slice(if self.first { b"\n" } else { b",\n" });
            self.first = false;
            let line = Line {
                transfer_id: &entry.transfer_id,
                amount: (&entry.amount).into(),
                balance_after: (&entry.balance_after).into(),
                counterparty_account_id: &entry.counterparty_account_id,
                reference: &entry.reference,
                book_time: timestamp(entry.booked),
            };
            serde_json::to_writer(&mut bytes, &line)?;
        }
        Ok(bytes)
    }

    pub(super) fn end(self, entry_count: u64) -> Vec<u8> {
        format!("],\"entryCount\":\"{entry_count}\"}}\n").into_bytes()
    }
}
