//! How a statement is written: piece by piece, so that a statement of any length needs the memory of one page. Both formats
//! say the same; JSON counts in minor units as the API does, CSV has decimals for the people who open it in a spreadsheet.
mod csv;
mod json;

use chrono::{DateTime, SecondsFormat, Utc};

use super::money::Money;
use super::{AccountId, Entry, Format, Period};
use crate::domain::document::{MediaType, Title};

/// What stands at the top.
#[derive(Debug)]
pub struct Head<'a> {
    pub account_id: &'a AccountId,
    pub period: Period,
    pub opening: &'a Money,
    pub closing: &'a Money,
}

/// A statement being written.
#[derive(Debug)]
pub enum Pen {
    Json(json::Pen),
    Csv(csv::Pen),
}

/// What went wrong while writing. Rendering has no outside, so this is a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Csv(#[from] ::csv::Error),
    #[error("csv rows could not be taken back")]
    Rows,
}

impl Pen {
    /// Begins a statement. Returns its first bytes with the pen that writes the rest.
    pub fn begin(format: Format, head: &Head<'_>) -> Result<(Self, Vec<u8>), RenderError> {
        match format {
            Format::Json => json::Pen::begin(head).map(|(pen, bytes)| (Self::Json(pen), bytes)),
            Format::Csv => csv::Pen::begin(head).map(|(pen, bytes)| (Self::Csv(pen), bytes)),
        }
    }

    /// The bytes of further entries.
    pub fn entries(&mut self, entries: &[Entry]) -> Result<Vec<u8>, RenderError> {
        match self {
            Self::Json(pen) => pen.entries(entries),
            Self::Csv(pen) => pen.entries(entries),
        }
    }

    /// The last bytes.
    pub fn end(self, entry_count: u64) -> Result<Vec<u8>, RenderError> {
        match self {
            Self::Json(pen) => Ok(pen.end(entry_count)),
            Self::Csv(pen) => pen.end(),
        }
    }
}

/// The media type of a format.
pub fn media_type(format: Format) -> MediaType {
    match format {
        Format::Json => MediaType::JSON,
        Format::Csv => MediaType::CSV,
    }
}

/// What the document of a statement is called.
pub fn title(account_id: &AccountId, period: Period) -> Title {
    Title::of_statement(account_id.as_str(), period.start().date_naive(), period.last().date_naive())
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::super::proof::tests::{entries, eur};
    use super::super::tests::at;
    use super::*;

    fn write(format: Format, pages: &[&[Entry]]) -> String {
        let account_id = AccountId::parse("a".into()).unwrap();
        let (opening, closing) = (eur(100), eur(120));
        let head = Head {
            account_id: &account_id,
            period: Period::known(at(0), at(1_000_000)),
            opening: &opening,
            closing: &closing,
        };
        let (mut pen, mut bytes) = Pen::begin(format, &head).unwrap();
        for page in pages {
            bytes.extend(pen.entries(page).unwrap());
        }
        bytes.extend(pen.end(pages.iter().map(|page| page.len() as u64).sum()).unwrap());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn pages_do_not_show() {
        let all = entries(100, &[50, -30]);
        for format in [Format::Json, Format::Csv] {
            assert_eq!(write(format, &[&all]), write(format, &[&[], &all[..1], &[], &all[1..], &[]]));
        }
    }

    #[test]
    fn json_is_one_object_in_the_words_of_the_api() {
        let mut all = entries(100, &[50, -30]);
        all[1].counterparty_account_id = "b".into();
        all[1].reference = "\"quoted\"\n".into();
        let statement: serde_json::Value = serde_json::from_str(&write(Format::Json, &[&all])).unwrap();
        let money = |minor: &str| serde_json::json!({"currencyCode": "EUR", "minorUnits": minor});
        let expected = serde_json::json!({
            "accountId": "a", "startTime": "2025-06-15T15:06:40Z", "endTime": "2025-06-15T15:06:41Z",
            "openingBalance": money("100"), "closingBalance": money("120"),
            "entries": [
                {"transferId": "t0", "amount": money("50"), "balanceAfter": money("150"),
                 "counterpartyAccountId": "", "reference": "rent", "bookTime": "2025-06-15T15:06:40Z"},
                {"transferId": "t1", "amount": money("-30"), "balanceAfter": money("120"),
                 "counterpartyAccountId": "b", "reference": "\"quoted\"\n", "bookTime": "2025-06-15T15:06:40.000001Z"},
            ],
            "entryCount": "2",
        });
        assert_eq!(statement, expected);
        let empty: serde_json::Value = serde_json::from_str(&write(Format::Json, &[])).unwrap();
        assert_eq!(empty["entries"], serde_json::json!([]));
    }

    #[test]
    fn csv_has_a_header_and_a_line_for_each_balance_and_entry() {
        let text = write(Format::Csv, &[&entries(100, &[50, -30])]);
        let expected = [
            "kind,time,transfer_id,amount,balance,currency,counterparty_account_id,reference",
            "opening,2025-06-15T15:06:40Z,,,1.00,EUR,,",
            "entry,2025-06-15T15:06:40Z,t0,0.50,1.50,EUR,,rent",
            "entry,2025-06-15T15:06:40.000001Z,t1,-0.30,1.20,EUR,,rent",
            "closing,2025-06-15T15:06:41Z,,,1.20,EUR,,",
            "",
        ];
        assert_eq!(text, expected.join("\r\n"));
    }

    #[test]
    fn csv_cells_are_never_formulas() {
        let cases = [
            ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("\n=1", "'\n=1"),
            (" =1", "' =1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a, \"b\"\r\n=c", "a, \"b\"\r\n=c"),
            ("rent", "rent"),
        ];
        for (reference, expected) in cases {
            let mut all = entries(100, &[20]);
            all[0].reference = reference.into();
            all[0].counterparty_account_id = reference.into();
            let text = write(Format::Csv, &[&all]);
            let row = ::csv::Reader::from_reader(text.as_bytes()).records().nth(1).unwrap().unwrap();
            assert_eq!((&row[6], &row[7]), (expected, expected), "{reference:?}");
            assert_eq!(&row[3], "0.20");
        }
    }
}
