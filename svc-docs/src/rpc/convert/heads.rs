//! Heads of the journal between the contract and the domain.
use chassis::error::Violation;
use chassis::page::{Page, Sizes};
use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use proto::docs::v1 as pb;

use super::{Faults, timestamp};
use crate::domain::Fault;
use crate::domain::head::Head;
use crate::error::Error;

/// Heads of one page.
const HEAD_PAGES: Sizes = Sizes { default: 100, max: 500 };
/// Heads of one Append.
const HEADS_MAX: usize = 200;
/// The longest name of a key: the digest of one has 22 characters.
const KEY_ID_BYTES_MAX: usize = 64;

/// What AppendJournalHeads wants kept.
pub(in crate::rpc) fn append(request: pb::AppendJournalHeadsRequest) -> Result<Vec<Head>, Error> {
    let mut faults = Faults::default();
    if !(1..=HEADS_MAX).contains(&request.heads.len()) {
        faults.0.push(Violation::new("heads", format!("must be 1 to {HEADS_MAX} heads")));
        return Err(faults.refusal());
    }
    let heads = request.heads.into_iter().enumerate();
    let parsed: Vec<_> =
        heads.map(|(place, head)| parse(&mut faults, &format!("heads[{place}]"), head)).collect();
    if !faults.0.is_empty() {
        return Err(faults.refusal());
    }
    Ok(parsed.into_iter().flatten().collect())
}

fn parse(faults: &mut Faults, path: &str, head: pb::JournalHead) -> Option<Head> {
    let at = |field: &str| format!("{path}.{field}");
    let seq = faults.take(&at("seq"), if head.seq > 0 { Ok(head.seq) } else { Err("must be positive") });
    let hash = faults.take(&at("hash"), head.hash.try_into().map_err(|_| "must have 32 bytes"));
    let booked = faults.take(&at("book_time"), milliseconds(head.book_time));
    let named = (1..=KEY_ID_BYTES_MAX).contains(&head.key_id.len());
    let key_id = faults.take(&at("key_id"), if named { Ok(head.key_id) } else { Err("must name a key") });
    let signature =
        faults.take(&at("signature"), head.signature.try_into().map_err(|_| "must have 64 bytes"));
    Some(Head { seq: seq?, hash: hash?, booked: booked?, key_id: key_id?, signature: signature? })
}

/// The time is signed, and so must come back as it came: what the store would cut off is refused.
fn milliseconds(time: Option<Timestamp>) -> Result<DateTime<Utc>, Fault> {
    match time {
        Some(time) if time.nanos % 1_000_000 != 0 => Err(Fault::NotATime),
        time => super::time(time),
    }
}

/// What ListJournalHeads asks for.
pub(in crate::rpc) fn list(request: &pb::ListJournalHeadsRequest) -> Result<Page, Error> {
    Page::parse(HEAD_PAGES, &[b"journalHeads"], request.page_size, &request.page_token)
        .map_err(|violations| Error::Invalid { violations })
}

/// A head as it is read.
pub(in crate::rpc) fn head(head: Head) -> pb::JournalHead {
    pb::JournalHead {
        seq: head.seq,
        hash: head.hash.to_vec(),
        book_time: Some(timestamp(head.booked)),
        key_id: head.key_id,
        signature: head.signature.to_vec(),
    }
}

/// Bytes as a log has them.
pub(in crate::rpc) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
