//! Rows of the journal: every change of state is one, and together they replay to every balance there ever was. A row's id is
//! a UUIDv7 whose time is the booking time and whose next bits are the sequence number, so ids sort as the journal does and a
//! range of booking times is a range of ids. The canonical bytes of a row are what the hash chain commits to.

use chrono::{Datelike as _, NaiveDate};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::account::Amount;
use super::currency::Currency;
use super::exchange::Exchange;
use super::request::Scope;

/// What happened. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// An account was opened: credit side, version 1; `ref` is its id.
    Open = 1,
    /// An account's floor or ceiling was changed: the account on the credit side.
    Limits = 2,
    /// An account's state was changed: the account on the credit side.
    State = 3,
    /// A customer became a party to an account.
    Party = 4,
    /// A grant was set: the account on the credit side, as it stood before and stands after.
    Grant = 5,
    /// Money moved.
    Transfer = 6,
    /// Money was held.
    Hold = 7,
    /// More was held; `ref` is the hold.
    Increment = 8,
    /// Held money moved; `ref` is the hold.
    Post = 9,
    /// A hold was given up; `ref` is the hold.
    Void = 10,
    /// A hold's time was over; `ref` is the hold.
    Expire = 11,
    /// A transfer was given back; `ref` is that transfer.
    Reverse = 12,
    /// A period was closed; `value_date` is its last day, `detail_hash` the hash of the trial balance.
    ClosePeriod = 13,
}

impl Kind {
    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as i16 == number)
    }

    const ALL: [Self; 13] = [
        Self::Open,
        Self::Limits,
        Self::State,
        Self::Party,
        Self::Grant,
        Self::Transfer,
        Self::Hold,
        Self::Increment,
        Self::Post,
        Self::Void,
        Self::Expire,
        Self::Reverse,
        Self::ClosePeriod,
    ];
}

/// One account's side of a row, after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The account's number.
    pub account: i64,
    /// Its version.
    pub version: i64,
    /// Posted credits less posted debits.
    pub posted: i64,
    /// Pending debits.
    pub held: i64,
    /// Pending credits.
    pub expected: i64,
}

/// What has been taken of a consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The consent.
    pub consent: Uuid,
    /// What transfers have taken of it in all, after the row.
    pub used: i64,
}

/// What a grant is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one transfer.
    pub per_transfer_max: Option<Amount>,
    /// Of all together.
    pub total_max: Option<Amount>,
    /// In milliseconds of the Unix time.
    pub expires_at: i64,
}

/// Of [`Row::flags`] of a hold: it pays somebody outside this bank.
pub const EXTERNAL: i16 = 1;

/// Of [`Row::flags`] of a transfer, a hold or a reversal: the payer is not told the credited account's id.
pub const HIDDEN: i16 = 2;

/// A row of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// UUIDv7; of a transfer or a hold it is the transfer's id.
    pub id: Uuid,
    /// Gapless from 1, in commit order.
    pub seq: i64,
    /// What happened.
    pub kind: Kind,
    /// The currency of the accounts concerned; absent where none is.
    pub currency: Option<Currency>,
    /// In minor units: what moved, or was held, released or expected; absent where no money is concerned.
    pub amount: Option<i64>,
    /// Hold, increment, post, void, expire: what is held after the row. What a post released is the rest.
    pub remaining: Option<i64>,
    /// The account debited.
    pub debit: Option<Side>,
    /// The account credited, or the one account concerned.
    pub credit: Option<Side>,
    /// The floor the debit was judged by; open, limits: the account's.
    pub floor: Option<i64>,
    /// The ceiling the credit was judged by; open, limits: the account's.
    pub ceiling: Option<i64>,
    /// The sequence number of the first row of the chain it belongs to.
    pub link: Option<i64>,
    /// What the row refers to: the hold, the transfer reversed, the id of the account opened.
    pub reference: Option<Uuid>,
    /// Open: the account's purpose, and 16 times its type. State: it. Grant: its scopes. Hold: [`EXTERNAL`]. Transfer,
    /// hold: [`HIDDEN`].
    pub flags: i16,
    /// Open: the account's place in the chart of accounts.
    pub gl_code: Option<i32>,
    /// Open, state, limits, grant: the revision of the intent.
    pub revision: Option<i64>,
    /// Party: the customer, an opaque id. Grant: the partner, another.
    pub party: Option<String>,
    /// Grant: it. Transfer, hold, increment: whose allowance the amount was taken from. Post, void, expire: whose it was given
    /// back to.
    pub consent: Option<Taken>,
    /// Grant: its bounds.
    pub bounds: Option<Bounds>,
    /// Hold: when it ends by itself, in milliseconds of the Unix time.
    pub expires_at: Option<i64>,
    /// The day the money counts for. Close period: the last day closed.
    pub value_date: Option<NaiveDate>,
    /// The conversion it is half of.
    pub exchange: Option<Exchange>,
    /// Who asked for it.
    pub actor: Scope,
    /// SHA-256 over a salt and the texts, which live outside the journal. Close period: of the trial balance.
    pub detail_hash: Option<[u8; 32]>,
    /// Random: salts the hashes of the two sides, so that who is shown one cannot guess the other.
    pub salt: [u8; 16],
    /// Milliseconds of the Unix time; never decreases with `seq`.
    pub booked_at: i64,
}

/// Bits of the sequence number that stand in an id: enough for 4.4 million million rows.
const SEQ_BITS: u32 = 42;

/// The id of the row with `seq`, booked at `booked_at` ms: 48 bits of time, version, 12 + 30 bits of the sequence number around
/// the variant, 32 bits of `nonce` (RFC 9562, 6.2, method 1: a counter in place of the leading random bits). Strictly
/// increasing with `seq` as long as `booked_at` does not decrease.
#[must_use]
pub fn row_id(booked_at: i64, seq: i64, nonce: u32) -> Uuid {
    let time = u128::from(booked_at.unsigned_abs()) & 0xFFFF_FFFF_FFFF;
    let seq = u128::from(seq.unsigned_abs()) & ((1 << SEQ_BITS) - 1);
    let (high, low) = (seq >> 30, seq & 0x3FFF_FFFF);
    Uuid::from_u128(time << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low << 32 | u128::from(nonce))
}

/// The smallest id that a row booked at `booked_at` ms or later can have.
#[must_use]
pub fn first_id_at(booked_at: i64) -> Uuid {
    let time = u128::from(booked_at.clamp(0, 0xFFFF_FFFF_FFFF).unsigned_abs());
    Uuid::from_u128(time << 80)
}

/// Version of the canonical form, the first byte of the public part.
const CANONICAL_VERSION: u8 = 1;
/// Bytes that most rows' public parts fit in.
const PUBLIC_BYTES: usize = 320;

/// The two sides of a row, as far as what is said of them is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The account debited.
    Debit,
    /// The account credited, or the one account concerned.
    Credit,
}

impl Row {
    /// What of the row everybody may know who may know of it at all: every field but what [`Row::side`] tells, in the order of the
    /// struct, integers big endian, an absent one as a zero byte and a present one behind a one byte, texts behind their length.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        let mut out = Canonical(Vec::with_capacity(PUBLIC_BYTES));
        out.0.push(CANONICAL_VERSION);
        out.0.extend_from_slice(self.id.as_bytes());
        out.int(self.seq);
        out.0.extend_from_slice(&(self.kind as i16).to_be_bytes());
        out.option(self.currency, |out, currency| out.0.extend_from_slice(&currency.numeric().to_be_bytes()));
        for figure in [
            self.amount,
            self.remaining,
            self.debit.map(|side| side.account),
            self.credit.map(|side| side.account),
            self.link,
        ] {
            out.option(figure, Canonical::int);
        }
        out.option(self.reference, |out, id| out.0.extend_from_slice(id.as_bytes()));
        out.0.extend_from_slice(&self.flags.to_be_bytes());
        out.option(self.gl_code, |out, code| out.int(i64::from(code)));
        out.option(self.revision, Canonical::int);
        out.option(self.party.as_deref(), Canonical::text);
        out.option(self.bounds, |out, bounds| {
            for cap in [bounds.per_transfer_max, bounds.total_max] {
                out.option(cap, |out, cap| out.int(cap.minor_units()));
            }
            out.int(bounds.expires_at);
        });
        out.option(self.expires_at, Canonical::int);
        out.option(self.value_date, |out, day| out.int(i64::from(day.num_days_from_ce())));
        out.option(self.exchange.as_ref(), |out, exchange| {
            out.text(&exchange.quote);
            out.text(&exchange.rate);
        });
        out.option(self.detail_hash, |out, hash| out.0.extend_from_slice(&hash));
        out.int(self.booked_at);
        out.0
    }

    /// What only who may know a side's account may know: its version and balances after the row, the limit it was judged by (the
    /// floor of the debit, the ceiling of the credit), and on the debit side the consent used and who asked. It begins with 16 bytes derived
    /// from the row's salt, so that who is given its hash cannot try figures against it.
    #[must_use]
    pub fn side(&self, which: Which) -> Vec<u8> {
        let (side, limit, label) = match which {
            Which::Debit => (self.debit, self.floor, b"debit".as_slice()),
            Which::Credit => (self.credit, self.ceiling, b"credit".as_slice()),
        };
        let salt = Sha256::new().chain_update(label).chain_update(self.salt).finalize();
        let mut out = Canonical(Vec::with_capacity(96));
        out.0.extend_from_slice(&salt[..16]);
        out.option(side, |out, side| {
            for figure in [side.version, side.posted, side.held, side.expected] {
                out.int(figure);
            }
        });
        out.option(limit, Canonical::int);
        let consent = self.consent.filter(|_| which == Which::Debit);
        out.option(consent, |out, taken| {
            out.0.extend_from_slice(taken.consent.as_bytes());
            out.int(taken.used);
        });
        // Who asked is the payer's to know: the digest of a principal can be tried against guesses.
        if which == Which::Debit {
            out.0.extend_from_slice(self.actor.as_bytes());
        }
        out.0
    }
}

struct Canonical(Vec<u8>);

impl Canonical {
    fn int(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_seven_and_sort_as_the_journal() {
        let mut last = first_id_at(1_000);
        for (at, seq) in
            [(1_000, 1), (1_000, 2), (1_000, 0x3FFF_FFFF), (1_000, 0x4000_0000), (1_001, 0x4000_0001)]
        {
            let id = row_id(at, seq, u32::MAX);
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            assert!(id > last, "{at} {seq}");
            assert!(id < first_id_at(at + 1));
            last = row_id(at, seq, u32::MAX);
        }
    }
}
