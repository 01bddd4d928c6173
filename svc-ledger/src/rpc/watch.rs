//! Streams of entries and of rows, from a place in the journal on. Everything is read from the store in pages and at the pace of who
//! listens: a slow consumer keeps one page in memory and nobody else waiting. No row can be skipped: sequence numbers are given under
//! the head's lock and become visible in their order, so that whoever sees the head at `n` sees all rows up to `n`.

use std::sync::Arc;
use std::time::Duration;

use chassis::call::{Call, Principal};
use futures::StreamExt as _;
use futures::stream::{self, TryStreamExt as _};
use proto::ledger::v1 as pb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;
use uuid::Uuid;

use super::journal::Stream;
use super::{Rpc, convert};
use crate::error::Error;
use crate::store::Store;
use crate::store::read::{Named, Viewer, Window};

/// Entries or rows read at once: what a slow consumer keeps in memory.
const PAGE: i64 = 200;
/// The shortest time between two looks of one stream, so that a busy ledger does not read for each watcher what each batch wrote.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a stream says how far it is, and asks whether its reader may still read. Consents end within that time.
const RECHECK_EVERY: Duration = Duration::from_secs(3);

/// The streams of this process.
#[derive(Clone, Debug)]
pub(super) struct Watchers(Arc<Semaphore>);

impl Watchers {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max)))
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| Error::TooManyWatchers)
    }
}

/// How far a stream is.
struct Place {
    store: Store,
    end: watch::Receiver<i64>,
    /// The last row sent.
    row: Uuid,
    /// Everything up to it has been sent.
    seq: i64,
    /// Whether to look at once.
    behind: bool,
    _turn: OwnedSemaphorePermit,
}

impl Place {
    /// Waits until there may be something new, or until it is time to say that there is nothing.
    async fn wait(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.behind) {
            tokio::time::sleep(LOOK_EVERY).await;
            let seq = self.seq;
            let _ = tokio::time::timeout(RECHECK_EVERY, self.end.wait_for(|end| *end > seq)).await;
        }
        // The task behind it ends with the drain, which must not wait for a stream that has much to catch up with.
        self.end.has_changed().map(|_| ()).map_err(|_| Error::WatchEnded)
    }
}

impl Rpc {
    async fn place(&self, after_seq: i64) -> Result<Place, Error> {
        if after_seq < 0 {
            return Err(convert::negative("after_seq"));
        }
        let turn = self.watchers.enter()?;
        let head = self.store.last_seq().await?;
        if after_seq > head {
            return Err(convert::beyond_the_journal("after_seq"));
        }
        Ok(Place {
            store: self.store.clone(),
            end: self.store.end(),
            row: self.store.id_behind(after_seq).await?,
            seq: after_seq,
            behind: true,
            _turn: turn,
        })
    }

    pub(super) async fn watched_entries(
        &self,
        call: &Call,
        request: &pb::WatchEntriesRequest,
    ) -> Result<Stream<pb::WatchEntriesResponse>, Error> {
        let account = convert::watched_account(&request.account_id)?;
        let viewer = self.viewer(call);
        // Before anything else: who may not read the account learns nothing but that.
        self.store
            .entries(&viewer, &account, Window { from: None, until: None, after: None, limit: 1 })
            .await?;
        let place = self.place(request.after_seq).await?;
        let pages = stream::try_unfold(place, move |mut place| {
            let (viewer, account) = (viewer.clone(), account.clone());
            async move {
                place.wait().await?;
                let page = entries(&mut place, &viewer, &account).await?;
                Ok::<_, Error>(Some((stream::iter(page.into_iter().map(Ok::<_, Error>)), place)))
            }
        });
        Ok(Box::pin(pages.try_flatten().map(|message| message.map_err(Status::from))))
    }

    pub(super) async fn watched_rows(
        &self,
        call: &Call,
        request: &pb::WatchJournalRequest,
    ) -> Result<Stream<pb::WatchJournalResponse>, Error> {
        if !matches!(call.caller.principal, Principal::Service) {
            return Err(Error::NotPermitted);
        }
        let place = self.place(request.after_seq).await?;
        let pages = stream::try_unfold(place, async |mut place: Place| {
            place.wait().await?;
            let page = rows(&mut place).await?;
            Ok::<_, Error>(Some((stream::iter(page.into_iter().map(Ok::<_, Error>)), place)))
        });
        Ok(Box::pin(pages.try_flatten().map(|message| message.map_err(Status::from))))
    }
}

/// The next entries, and how far the stream is with them.
async fn entries(
    place: &mut Place,
    viewer: &Viewer,
    account: &Named,
) -> Result<Vec<pb::WatchEntriesResponse>, Error> {
    // The head first: all rows up to it are seen by the read that follows.
    let head = place.store.last_seq().await?;
    let window = Window { from: None, until: None, after: Some(place.row), limit: PAGE };
    let (heading, entries) = place.store.entries(viewer, account, window).await?;
    let is_full = i64::try_from(entries.len()).is_ok_and(|count| count == PAGE);
    if let Some(last) = entries.last() {
        (place.row, place.seq) = (last.row, last.seq);
    }
    place.behind = is_full;
    let mut page: Vec<pb::WatchEntriesResponse> = entries
        .iter()
        .map(|entry| pb::WatchEntriesResponse {
            entry: Some(convert::entry(account.id, heading, entry)),
            seq: entry.seq,
        })
        .collect();
    if !is_full && (head > place.seq || page.is_empty()) {
        place.seq = place.seq.max(head);
        page.push(pb::WatchEntriesResponse { entry: None, seq: place.seq });
    }
    Ok(page)
}

/// The next rows.
async fn rows(place: &mut Place) -> Result<Vec<pb::WatchJournalResponse>, Error> {
    let rows = place.store.rows_behind(place.row, PAGE).await?;
    place.behind = i64::try_from(rows.len()).is_ok_and(|count| count == PAGE);
    if let Some(last) = rows.last() {
        (place.row, place.seq) = (last.row.id, last.row.seq);
    }
    let message = |row| {
        let row = convert::journal::row(row);
        pb::WatchJournalResponse { seq: row.seq, row: Some(row) }
    };
    let mut page: Vec<pb::WatchJournalResponse> = rows.iter().map(message).collect();
    if page.is_empty() {
        page.push(pb::WatchJournalResponse { row: None, seq: place.seq });
    }
    Ok(page)
}
