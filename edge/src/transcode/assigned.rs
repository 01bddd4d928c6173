//! What path, query and headers have already given to single fields of a message, so that the body and one another can be
//! held against it: an equal value is accepted, another one is a contradiction. Small and sorted; empty for most requests.

use std::ops::Range;

use super::types::{FieldId, Kind, Types};
use super::{MessageId, wire};

/// Marks an entry that stands for a oneof, not for a field.
const ONEOF: u16 = 1 << 15;

/// The fields given so far.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    paths: Vec<FieldId>,
    records: Vec<u8>,
    /// Sorted by path.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: Range<usize>,
    /// Tag and value; for a oneof the member's place in two bytes.
    record: Range<usize>,
    giver: Giver,
    /// Whether it is written: oneofs are not, nor is a default that means the same as absence.
    written: bool,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giver {
    /// Path or header, which may say the same thing twice.
    Head,
    Query,
    /// A form in the place of a body.
    Form,
}

/// Why a field cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// The query or the form has it twice.
    Twice,
    /// Another giver says something else.
    Contradiction,
    /// Another member of its oneof is set.
    Oneof,
}

impl Clash {
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Twice => "must be given once",
            Self::Contradiction => "contradicts the value given by the path, the query or a header",
            Self::Oneof => "excludes another field of its oneof that is set",
        }
    }
}

impl Assigned {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find<'p>(&self, path: impl Iterator<Item = FieldId> + Clone + 'p) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| self.paths[entry.path.clone()].iter().copied().cmp(path.clone()))
    }

    /// Tag and value of a field, if it has been given.
    pub(super) fn record(&self, path: impl Iterator<Item = FieldId> + Clone) -> Option<&[u8]> {
        self.find(path).ok().map(|position| &self.records[self.entries[position].record.clone()])
    }

    /// The member of a oneof that has been given; `path` leads to the message that has the oneof.
    pub(super) fn member(&self, path: impl Iterator<Item = FieldId> + Clone, oneof: u16) -> Option<FieldId> {
        let record = self.record(path.chain([ONEOF | oneof]))?;
        Some(FieldId::from_le_bytes(record.try_into().ok()?))
    }

    /// Gives a field its value. `record` is tag and value.
    pub(super) fn give(
        &mut self,
        path: &[FieldId],
        record: &[u8],
        giver: Giver,
        written: bool,
    ) -> Result<(), Clash> {
        match self.find(path.iter().copied()) {
            Ok(position) => {
                let entry = &self.entries[position];
                if entry.giver == giver && giver != Giver::Head {
                    return Err(Clash::Twice);
                }
                if self.records[entry.record.clone()] == *record { Ok(()) } else { Err(Clash::Contradiction) }
            }
            Err(position) => {
                let entry = Entry { path: 0..0, record: 0..0, giver, written };
                self.insert(position, path, None, record, entry);
                Ok(())
            }
        }
    }

    /// Notes the oneofs that a path goes through.
    pub(super) fn give_oneofs(
        &mut self,
        types: &Types,
        root: MessageId,
        path: &[FieldId],
    ) -> Result<(), Clash> {
        let mut at = root;
        for (depth, id) in path.iter().enumerate() {
            let field = types.message(at).field(*id);
            if let Some(oneof) = field.oneof {
                let prefix = &path[..depth];
                match self.find(prefix.iter().copied().chain([ONEOF | oneof])) {
                    Ok(_) if self.member(prefix.iter().copied(), oneof) != Some(*id) => {
                        return Err(Clash::Oneof);
                    }
                    Ok(_) => {}
                    Err(position) => {
                        let entry = Entry { path: 0..0, record: 0..0, giver: Giver::Head, written: false };
                        self.insert(position, prefix, Some(ONEOF | oneof), &id.to_le_bytes(), entry);
                    }
                }
            }
            if let Kind::Message(next) = field.kind {
                at = next;
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        position: usize,
        path: &[FieldId],
        marker: Option<u16>,
        record: &[u8],
        mut entry: Entry,
    ) {
        let (path_start, record_start) = (self.paths.len(), self.records.len());
        self.paths.extend_from_slice(path);
        self.paths.extend(marker);
        self.records.extend_from_slice(record);
        entry.path = path_start..self.paths.len();
        entry.record = record_start..self.records.len();
        self.entries.insert(position, entry);
    }

    /// Appends every given field. Messages on the way are written once a field: readers merge them.
    pub(super) fn append_to(&self, types: &Types, root: MessageId, out: &mut Vec<u8>) {
        for entry in self.entries.iter().filter(|entry| entry.written) {
            let path = &self.paths[entry.path.clone()];
            append_nested(types, root, path, &self.records[entry.record.clone()], out);
        }
    }
}

/// Appends a field's record inside the messages that lead to it.
pub(super) fn append_nested(
    types: &Types,
    at: MessageId,
    path: &[FieldId],
    record: &[u8],
    out: &mut Vec<u8>,
) {
    let field = path.first().map(|id| types.message(at).field(*id));
    match field {
        Some(field) if path.len() > 1 => {
            let Kind::Message(next) = field.kind else { return };
            wire::put_tag(out, field.number, wire::LEN);
            let start = wire::begin(out);
            append_nested(types, next, &path[1..], record, out);
            wire::end(out, start);
        }
        Some(_) | None => out.extend_from_slice(record),
    }
}
