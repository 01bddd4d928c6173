//! Maps as JSON objects. On the wire a map is a list of entries, and the last of several with one key wins; JSON must not have
//! a key twice. Part of the one pass of `print`.

use super::ResponseError;
use super::print::{Head, NONE, Printer, len_delimited};
use super::types::{Field, Kind};

/// Where the key of a map's entry is printed.
pub(super) struct Key {
    start: usize,
    end: usize,
    /// Whether a later entry has the same.
    overruled: bool,
}

impl Printer<'_> {
    pub(super) fn map_entries(
        &mut self,
        field: &Field,
        head: Head,
        bytes: &[u8],
    ) -> Result<(), ResponseError> {
        let Kind::Message(entry) = field.kind else { return Err(ResponseError::Malformed) };
        let plan = self.types.message(entry);
        let mut next = head.first;
        let (mut first, outer) = (true, self.keys.len());
        while next != NONE {
            let record = self.records[next as usize];
            next = record.next;
            let entry = len_delimited(record, bytes)?;
            let (heads, records) = (self.heads.len(), self.records.len());
            self.note(plan, entry)?;
            let (key, value) = (self.heads[heads], self.heads[heads + 1]);
            self.comma(&mut first);
            let start = self.out.len();
            self.map_key(plan.field(0), key, entry)?;
            self.note_key(start);
            self.out.push(b':');
            match (value.first, plan.field(1).kind) {
                (NONE, Kind::Message(id)) => self.message(id, &[])?,
                (NONE, _) => self.default(plan.field(1)),
                _ => self.field(plan.field(1), value, entry)?,
            }
            self.heads.truncate(heads);
            self.records.truncate(records);
        }
        self.drop_overruled(outer);
        Ok(())
    }

    /// Notes that a map's key has been printed, and nothing behind it.
    pub(super) fn note_key(&mut self, start: usize) {
        self.keys.push(Key { start, end: self.out.len(), overruled: false });
    }

    /// How many keys are noted: those of the map to come begin there.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Ends a map that has just been printed, its brace apart: of entries with one key only the last stays.
    pub(super) fn drop_overruled(&mut self, outer: usize) {
        let (keys, out) = (&mut self.keys[outer..], &mut *self.out);
        keys.sort_unstable_by(|a, b| {
            out[a.start..a.end].cmp(&out[b.start..b.end]).then(a.start.cmp(&b.start))
        });
        let mut any = false;
        for index in 1..keys.len() {
            let (one, other) = (&keys[index - 1], &keys[index]);
            let same = out[one.start..one.end] == out[other.start..other.end];
            keys[index - 1].overruled = same;
            any |= same;
        }
        if any {
            keys.sort_unstable_by_key(|key| key.start);
            let (end, mut to) = (out.len(), keys[0].start);
            for index in 0..keys.len() {
                let start = keys[index].start;
                // Each entry takes its comma along; behind the last there is none, and it stays.
                let next = keys.get(index + 1).map_or(end, |key| key.start);
                if !keys[index].overruled {
                    out.copy_within(start..next, to);
                    to += next - start;
                }
            }
            out.truncate(to);
        }
        self.keys.truncate(outer);
    }

    /// Keys are strings in JSON, whatever they are on the wire.
    fn map_key(&mut self, field: &Field, head: Head, entry: &[u8]) -> Result<(), ResponseError> {
        let start = self.out.len();
        self.out.push(b'"');
        if head.first == NONE {
            self.default(field)
        } else {
            self.field(field, head, entry)?
        }
        if self.out[start + 1] == b'"' {
            self.out.remove(start);
        } else {
            self.out.push(b'"');
        }
        Ok(())
    }
}
