//! Reads the parts of a row back from their canonical bytes, for whoever holds a proof and wants to know what of.

use chrono::NaiveDate;
use uuid::Uuid;

use crate::domain::currency::Currency;
use crate::domain::journal::{Kind, Which};

/// A field as it is shown: its name and its value.
pub type Field = (&'static str, String);

/// The public part of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its sequence number.
    pub seq: i64,
    /// All that it says, in the order in which it says it; absent fields are left out.
    pub fields: Vec<Field>,
}

/// The version of the canonical form that is read here.
const VERSION: u8 = 1;

/// Reads a public part; `None` if it is none, to the last byte.
#[must_use]
pub fn open(bytes: &[u8]) -> Option<Open> {
    let mut part = Part { rest: bytes, fields: Vec::new() };
    (part.array::<1>()? == [VERSION]).then_some(())?;
    part.show("id", Part::uuid)?;
    let seq = part.int()?;
    part.fields.push(("seq", seq.to_string()));
    part.show("kind", |part| Kind::from_number(part.short()?).map(|kind| format!("{kind:?}")))?;
    part.option("currency", |part| {
        Currency::from_numeric(part.short()?).map(|currency| currency.code().to_owned())
    })?;
    for name in ["amount", "remaining", "debit_account", "credit_account", "link"] {
        part.option(name, Part::number)?;
    }
    part.option("ref", Part::uuid)?;
    part.show("flags", |part| Some(part.short()?.to_string()))?;
    part.option("gl_code", |part| Some(i32::from_be_bytes(part.array()?).to_string()))?;
    part.option("revision", Part::number)?;
    part.option("party", Part::text)?;
    part.option("bounds", |part| {
        let mut bounds = Part { rest: part.rest, fields: Vec::new() };
        bounds.option("per_transfer_max", Part::number)?;
        bounds.option("total_max", Part::number)?;
        bounds.show("expires_at", Part::number)?;
        part.rest = bounds.rest;
        let shown = bounds.fields.iter().map(|(name, value)| format!("{name} {value}"));
        Some(shown.collect::<Vec<_>>().join(", "))
    })?;
    part.option("expires_at", Part::number)?;
    part.option("value_date", |part| {
        let day = i32::try_from(part.int()?).ok()?;
        NaiveDate::from_num_days_from_ce_opt(day).map(|day| day.to_string())
    })?;
    part.option("exchange", |part| Some(format!("quote {}, rate {}", part.text()?, part.text()?)))?;
    part.option("detail_hash", |part| part.array::<32>().map(|hash| hex(&hash)))?;
    part.show("booked_at", Part::number)?;
    part.rest.is_empty().then_some(Open { seq, fields: part.fields })
}

/// Reads one side; `None` if it is none, to the last byte.
#[must_use]
pub fn side(bytes: &[u8], which: Which) -> Option<Vec<Field>> {
    let mut part = Part { rest: bytes, fields: Vec::new() };
    part.array::<16>()?;
    if part.is_there()? {
        for name in ["version", "posted", "held", "expected"] {
            part.show(name, Part::number)?;
        }
    }
    part.option(if which == Which::Debit { "floor" } else { "ceiling" }, Part::number)?;
    part.option("consent", |part| Some(format!("{}, used {}", part.uuid()?, part.number()?)))?;
    if which == Which::Debit {
        part.show("actor", |part| part.array::<16>().map(|actor| hex(&actor)))?;
    }
    part.rest.is_empty().then_some(part.fields)
}

struct Part<'a> {
    rest: &'a [u8],
    fields: Vec<Field>,
}

impl Part<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, behind) = self.rest.split_first_chunk::<N>()?;
        self.rest = behind;
        Some(*bytes)
    }

    fn int(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn short(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn number(&mut self) -> Option<String> {
        self.int().map(|number| number.to_string())
    }

    fn uuid(&mut self) -> Option<String> {
        self.array().map(|bytes| Uuid::from_bytes(bytes).to_string())
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (text, behind) = self.rest.split_at_checked(length)?;
        self.rest = behind;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    /// Whether an optional field is there: one byte, zero or one.
    fn is_there(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            [_] => None,
        }
    }

    fn show(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> Option<String>) -> Option<()> {
        let value = read(self)?;
        self.fields.push((name, value));
        Some(())
    }

    fn option(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> Option<String>) -> Option<()> {
        if self.is_there()? { self.show(name, read) } else { Some(()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
