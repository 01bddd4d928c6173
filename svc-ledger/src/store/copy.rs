//! Reads whole tables by `COPY ... TO STDOUT (FORMAT binary)`: one message of the server a row and no lookup of columns by name, so
//! that reading keeps up with hashing. The format is in PostgreSQL's manual under COPY, "Binary Format"; of the types here, each
//! is its network representation, dates and times counted from the year 2000.

use bytes::Bytes;
use chrono::{Days, NaiveDate};
use futures::stream::{BoxStream, StreamExt as _};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::corrupt;

/// What every copy begins with, before two words of 32 bits: flags, and the length of an extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Milliseconds from the Unix epoch to the beginning of 2000.
const EPOCH_MS: i64 = 946_684_800_000;

/// The rows of a copy.
pub(super) struct Copy<'c> {
    stream: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    begun: bool,
}

impl<'c> Copy<'c> {
    /// Begins the copy of a query's rows. The connection is busy with it until its end.
    pub(super) async fn begin(connection: &'c mut PgConnection, query: &str) -> Result<Self, sqlx::Error> {
        let stream = connection.copy_out_raw(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await?;
        Ok(Self { stream, begun: false })
    }

    /// The next row; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Tuple>, sqlx::Error> {
        loop {
            let Some(message) = self.stream.next().await else { return Ok(None) };
            let mut tuple = Tuple { message: message?, at: 0 };
            if !self.begun {
                let header = tuple.bytes(SIGNATURE.len())?;
                if header != SIGNATURE {
                    return Err(corrupt("beginning of a copy"));
                }
                tuple.word()?;
                let extension = tuple.word()?;
                tuple.bytes(usize::try_from(extension).map_err(|_| corrupt("beginning of a copy"))?)?;
                self.begun = true;
            }
            if tuple.at == tuple.message.len() {
                continue;
            }
            // The number of fields; minus one ends the copy.
            if i16::from_be_bytes(tuple.array()?) >= 0 {
                return Ok(Some(tuple));
            }
        }
    }
}

/// A row, read field by field in the order of the query.
pub(super) struct Tuple {
    message: Bytes,
    at: usize,
}

impl Tuple {
    fn bytes(&mut self, length: usize) -> Result<&[u8], sqlx::Error> {
        let end = self.at.checked_add(length).ok_or_else(|| corrupt("copy"))?;
        let bytes = self.message.get(self.at..end).ok_or_else(|| corrupt("copy"))?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], sqlx::Error> {
        self.bytes(N)?.try_into().map_err(|_| corrupt("copy"))
    }

    fn word(&mut self) -> Result<i32, sqlx::Error> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// The field's bytes; none if it is null.
    pub(super) fn raw(&mut self) -> Result<Option<&[u8]>, sqlx::Error> {
        match usize::try_from(self.word()?) {
            Ok(length) => self.bytes(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn optional<T: Field>(&mut self) -> Result<Option<T>, sqlx::Error> {
        self.raw()?.map(|bytes| T::read(bytes).ok_or_else(|| corrupt("copied field"))).transpose()
    }

    pub(super) fn get<T: Field>(&mut self) -> Result<T, sqlx::Error> {
        self.optional()?.ok_or_else(|| corrupt("copied null"))
    }
}

/// A type that a field can have.
pub(super) trait Field: Sized {
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($integer:ty)*) => {
        $(impl Field for $integer {
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
        })*
    };
}

integers!(i16 i32 i64);

impl Field for bool {
    fn read(bytes: &[u8]) -> Option<Self> {
        matches!(bytes, [0 | 1]).then(|| bytes == [1])
    }
}

impl Field for Uuid {
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::from_slice(bytes).ok()
    }
}

impl Field for String {
    fn read(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl<const N: usize> Field for [u8; N] {
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl Field for NaiveDate {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (days, epoch) = (i32::read(bytes)?, Self::from_ymd_opt(2000, 1, 1)?);
        let distance = Days::new(days.unsigned_abs().into());
        if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) }
    }
}

/// A time in whole milliseconds of the Unix time, as the ledger books.
#[derive(Clone, Copy)]
pub(super) struct Milliseconds(pub(super) i64);

impl Field for Milliseconds {
    fn read(bytes: &[u8]) -> Option<Self> {
        let microseconds = i64::read(bytes)?;
        (microseconds % 1_000 == 0).then(|| Self(microseconds / 1_000 + EPOCH_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_what_the_server_means() {
        assert_eq!(i64::read(&(-7_i64).to_be_bytes()), Some(-7));
        assert_eq!(bool::read(&[2]), None);
        assert_eq!(NaiveDate::read(&(-1_i32).to_be_bytes()), NaiveDate::from_ymd_opt(1999, 12, 31));
        assert_eq!(NaiveDate::read(&366_i32.to_be_bytes()), NaiveDate::from_ymd_opt(2001, 1, 1));
        assert_eq!(Milliseconds::read(&0_i64.to_be_bytes()).map(|time| time.0), Some(EPOCH_MS));
        assert!(Milliseconds::read(&1_i64.to_be_bytes()).is_none(), "the ledger books whole milliseconds");
    }
}
