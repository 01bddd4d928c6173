//! Lists of what is not finished, which outlive the process. Each is a partition of its own instead of a sparse index,
//! because an index is read after a delay, and what is missing from it for a moment would be missing for a whole round.

use super::Store;
use super::item::{Item, Reader, Writer};
use super::key::Key;
use super::query::Range;
use crate::domain::UnixMillis;
use crate::error::Error;

/// Something that waits for the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<T> {
    /// What waits.
    pub id: T,
    /// Since when.
    pub since: UnixMillis,
}

/// What waits, the oldest first, and whether there is more.
pub type WaitingPage<T> = (Vec<Waiting<T>>, bool);

/// The item that puts something on its list.
pub(super) fn item(key: &Key, since: UnixMillis) -> Writer {
    Writer::at(key).number("create_time", since.get())
}

impl Store {
    /// What waits on a list, in order of the sort keys, and whether there is more.
    pub(super) async fn waiting<T>(
        &self,
        list: &str,
        prefix: &str,
        after: Option<Key>,
        limit: usize,
        id: impl Fn(Reader<'_>) -> Result<T, Error>,
    ) -> Result<WaitingPage<T>, Error> {
        let range = Range { partition: list.to_owned(), prefix: Some(prefix), after, limit };
        let (items, more) = self.range(range).await?;
        let waiting = |item: &Item| {
            Ok(Waiting { id: id(Reader(item))?, since: UnixMillis::new(Reader(item).number("create_time")?) })
        };
        Ok((items.iter().map(waiting).collect::<Result<_, Error>>()?, more))
    }
}
