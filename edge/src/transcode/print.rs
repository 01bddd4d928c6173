//! Wire bytes to JSON in one pass over each message: its records are noted where they stand, then printed in the order of
//! declaration, whatever order the upstream wrote them in. The last of several values of a singular field wins and the parts
//! of a split message are joined, as the wire format demands. `print_map` has maps, `print_known` the well-known types.

use super::json::put_string;
use super::print_map::Key;
use super::select::Selection;
use super::types::{Field, FieldId, Form, Kind, Message, MessageId, Shape, Types};
use super::wire::{self, Reader};
use super::{DEPTH_MAX, ResponseError, scalar};

/// What is printed beyond what proto3 JSON demands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habits {
    /// Scalars at their default, empty lists and empty maps.
    pub(super) defaults: bool,
    pub(super) enum_numbers: bool,
    pub(super) proto_names: bool,
}

/// One pass over one message. The stacks are shared by all levels.
pub(super) struct Printer<'a> {
    pub(super) types: &'a Types,
    habits: Habits,
    pub(super) out: &'a mut Vec<u8>,
    /// For each field of each open message its first and last record, then for each of its oneofs the member that is set.
    pub(super) heads: Vec<Head>,
    pub(super) records: Vec<Record>,
    /// For each entry of each open map: where its key stands in `out`.
    pub(super) keys: Vec<Key>,
    depth: usize,
    /// What is wanted of the message that comes next, and of no other.
    selection: Option<&'a Selection>,
}

#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) first: u32,
    last: u32,
}

/// An occurrence of a field in the message's bytes.
#[derive(Clone, Copy)]
pub(super) struct Record {
    start: u32,
    end: u32,
    wire_type: u8,
    pub(super) next: u32,
}

/// A state of the pass to fall back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    out: usize,
    heads: usize,
    records: usize,
    keys: usize,
    depth: usize,
}

pub(super) const NONE: u32 = u32::MAX;
const ABSENT: Head = Head { first: NONE, last: NONE };

impl<'a> Printer<'a> {
    pub(super) fn new(types: &'a Types, habits: Habits, out: &'a mut Vec<u8>) -> Self {
        let (heads, records, keys) = (Vec::new(), Vec::new(), Vec::new());
        Self { types, habits, out, heads, records, keys, depth: 0, selection: None }
    }

    /// Prints only what is selected of the messages at the top: of the message, of each in a list, of each value of a map.
    pub(super) fn selecting(self, selection: Option<&'a Selection>) -> Self {
        Self { selection, ..self }
    }

    /// Steps into a JSON container.
    pub(super) fn enter(&mut self, open: u8) -> Result<(), ResponseError> {
        if self.depth == DEPTH_MAX {
            return Err(ResponseError::TooDeep);
        }
        self.depth += 1;
        self.out.push(open);
        Ok(())
    }

    pub(super) fn leave(&mut self, close: u8) {
        self.depth -= 1;
        self.out.push(close);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            out: self.out.len(),
            heads: self.heads.len(),
            records: self.records.len(),
            keys: self.keys.len(),
            depth: self.depth,
        }
    }

    /// Forgets what was printed since the mark.
    pub(super) fn fall_back(&mut self, mark: Mark) {
        self.out.truncate(mark.out);
        self.heads.truncate(mark.heads);
        self.records.truncate(mark.records);
        self.keys.truncate(mark.keys);
        self.depth = mark.depth;
    }

    /// Prints a message.
    pub(super) fn message(&mut self, id: MessageId, bytes: &[u8]) -> Result<(), ResponseError> {
        let form = self.types.message(id).form;
        if form != Form::Object {
            return self.known(id, form, bytes);
        }
        self.enter(b'{')?;
        self.members(id, bytes, true)?;
        self.leave(b'}');
        Ok(())
    }

    /// Prints the members of an object without its braces. `first` says whether no member stands before them.
    pub(super) fn members(
        &mut self,
        id: MessageId,
        bytes: &[u8],
        mut first: bool,
    ) -> Result<(), ResponseError> {
        let plan = self.types.message(id);
        let (heads, records) = (self.heads.len(), self.records.len());
        self.note(plan, bytes)?;
        if let Some(selection) = self.selection {
            for (place, below) in &selection.fields {
                let place = usize::from(*place);
                self.selection = below.as_ref();
                self.member(&plan.fields[place], self.heads[heads + place], bytes, &mut first)?;
            }
            self.selection = Some(selection);
        } else {
            for (place, field) in plan.fields.iter().enumerate() {
                self.member(field, self.heads[heads + place], bytes, &mut first)?;
            }
        }
        self.heads.truncate(heads);
        self.records.truncate(records);
        Ok(())
    }

    /// Prints a member of an object, key and value, if there is one.
    #[inline]
    fn member(
        &mut self,
        field: &Field,
        head: Head,
        bytes: &[u8],
        first: &mut bool,
    ) -> Result<(), ResponseError> {
        let absent = head.first == NONE;
        let shown = if absent {
            self.habits.defaults && has_default(field)
        } else {
            self.habits.defaults || !self.is_default(field, head, bytes)
        };
        if !shown {
            return Ok(());
        }
        self.comma(first);
        let key = if self.habits.proto_names { &field.proto_key } else { &field.json_key };
        self.out.extend_from_slice(key.as_bytes());
        if !absent {
            return self.field(field, head, bytes);
        }
        self.default(field);
        Ok(())
    }

    /// Prints one field of a message, a default if it is not there.
    pub(super) fn only(&mut self, id: MessageId, place: FieldId, bytes: &[u8]) -> Result<(), ResponseError> {
        let plan = self.types.message(id);
        self.note(plan, bytes)?;
        let head = self.heads[usize::from(place)];
        if head.first == NONE {
            self.default(plan.field(place));
            return Ok(());
        }
        self.field(plan.field(place), head, bytes)
    }

    /// Whether what a field's records say is what their absence says: an upstream may write defaults out. What is not of the
    /// field's type is none, for whoever prints it to refuse.
    fn is_default(&self, field: &Field, head: Head, bytes: &[u8]) -> bool {
        let record = self.records[head.last as usize];
        // Nearly every value that is written out tells by its first byte: no varint, length or fixed number is zero whose low
        // seven bits are not.
        if field.shape == Shape::Singular
            && bytes.get(record.start as usize).is_some_and(|first| first & 0x7f != 0)
            && !self.types.takes_null(field.kind)
        {
            return false;
        }
        let mut reader = Reader::at(bytes, record.start as usize);
        match (field.shape, field.kind) {
            (Shape::Repeated { .. }, kind) if kind.wire_type() != wire::LEN => {
                let mut records = std::iter::successors(Some(head.first), |at| {
                    Some(self.records[*at as usize].next).filter(|next| *next != NONE)
                });
                records.all(|at| len_delimited(self.records[at as usize], bytes).is_ok_and(<[u8]>::is_empty))
            }
            (Shape::Repeated { .. } | Shape::Map, _) => false,
            (Shape::Singular, kind) if field.presence || record.wire_type != kind.wire_type() => false,
            (Shape::Singular, Kind::Enum(id)) if self.types.enumeration(id).is_null_value => true,
            (Shape::Singular, Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_)) => {
                reader.varint().is_ok_and(|value| value as u32 == 0)
            }
            (Shape::Singular, kind) if kind.wire_type() == wire::VARINT => {
                reader.varint().is_ok_and(|value| value == 0)
            }
            (Shape::Singular, kind) if kind.wire_type() == wire::LEN => {
                reader.len_delimited().is_ok_and(<[u8]>::is_empty)
            }
            (Shape::Singular, _) => scalar::is_default(&bytes[record.start as usize..record.end as usize]),
        }
    }

    /// Notes where each known field's records stand.
    pub(super) fn note(&mut self, plan: &Message, bytes: &[u8]) -> Result<(), ResponseError> {
        let heads = self.heads.len();
        let oneofs = heads + plan.fields.len();
        self.heads.resize(oneofs + plan.oneofs, ABSENT);
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (number, wire_type) = reader.tag()?;
            let start = reader.at;
            reader.skip(number, wire_type)?;
            let Some(place) = plan.by_number(number) else { continue };
            let field = plan.field(place);
            if let Some(oneof) = field.oneof {
                // The last member on the wire wins.
                let set = &mut self.heads[oneofs + usize::from(oneof)].first;
                let other = std::mem::replace(set, u32::from(place));
                if other != NONE && other != u32::from(place) {
                    self.heads[heads + other as usize] = ABSENT;
                }
            }
            let record = Record {
                start: u32::try_from(start).map_err(|_| ResponseError::Malformed)?,
                end: u32::try_from(reader.at).map_err(|_| ResponseError::Malformed)?,
                wire_type,
                next: NONE,
            };
            self.link(heads + usize::from(place), record);
        }
        Ok(())
    }

    fn link(&mut self, head: usize, record: Record) {
        let place = self.records.len() as u32;
        self.records.push(record);
        let head = &mut self.heads[head];
        if head.first == NONE {
            head.first = place;
        } else {
            self.records[head.last as usize].next = place;
        }
        head.last = place;
    }

    pub(super) fn field(&mut self, field: &Field, head: Head, bytes: &[u8]) -> Result<(), ResponseError> {
        match field.shape {
            Shape::Singular => match field.kind.message() {
                Some(id) if head.first != head.last => {
                    let joined = self.join(head, bytes)?;
                    self.message(id, &joined)
                }
                _ => self.value(field.kind, self.records[head.last as usize], bytes),
            },
            Shape::Repeated { .. } => {
                self.enter(b'[')?;
                self.elements(field, head, bytes)?;
                self.leave(b']');
                Ok(())
            }
            Shape::Map => {
                self.enter(b'{')?;
                self.map_entries(field, head, bytes)?;
                self.leave(b'}');
                Ok(())
            }
        }
    }

    /// The parts of a split message as one: merging messages is concatenating their bytes.
    fn join(&self, head: Head, bytes: &[u8]) -> Result<Vec<u8>, ResponseError> {
        let mut joined = Vec::new();
        let mut next = head.first;
        while next != NONE {
            let record = self.records[next as usize];
            joined.extend_from_slice(len_delimited(record, bytes)?);
            next = record.next;
        }
        Ok(joined)
    }

    fn elements(&mut self, field: &Field, head: Head, bytes: &[u8]) -> Result<(), ResponseError> {
        let mut next = head.first;
        let mut first = true;
        while next != NONE {
            let record = self.records[next as usize];
            next = record.next;
            let is_packed = record.wire_type == wire::LEN && field.kind.wire_type() != wire::LEN;
            if !is_packed {
                self.comma(&mut first);
                self.value(field.kind, record, bytes)?;
                continue;
            }
            let mut packed = Reader::new(len_delimited(record, bytes)?);
            while !packed.is_empty() {
                self.comma(&mut first);
                self.scalar(field.kind, &mut packed)?;
            }
        }
        Ok(())
    }

    pub(super) fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }

    /// Prints the value of a record.
    fn value(&mut self, kind: Kind, record: Record, bytes: &[u8]) -> Result<(), ResponseError> {
        if record.wire_type != kind.wire_type() {
            return Err(ResponseError::Malformed);
        }
        match kind.message() {
            Some(id) => self.message(id, len_delimited(record, bytes)?),
            None => self.scalar(kind, &mut Reader::at(bytes, record.start as usize)),
        }
    }

    /// Prints the scalar that a reader stands at.
    pub(super) fn scalar(&mut self, kind: Kind, reader: &mut Reader<'_>) -> Result<(), ResponseError> {
        match kind {
            Kind::Double => self.double(f64::from_bits(reader.fixed64()?)),
            Kind::Float => self.float(f32::from_bits(reader.fixed32()?)),
            Kind::Int32 => self.number(reader.varint()? as i32),
            // The upper half is cut off before the sign is unfolded, as in every reader of the format.
            Kind::Sint32 => self.number(wire::unzigzag(u64::from(reader.varint()? as u32)) as i32),
            Kind::Uint32 => self.number(reader.varint()? as u32),
            Kind::Fixed32 => self.number(reader.fixed32()?),
            Kind::Sfixed32 => self.number(reader.fixed32()? as i32),
            Kind::Int64 => self.quoted(reader.varint()? as i64),
            Kind::Sint64 => self.quoted(wire::unzigzag(reader.varint()?)),
            Kind::Uint64 => self.quoted(reader.varint()?),
            Kind::Fixed64 => self.quoted(reader.fixed64()?),
            Kind::Sfixed64 => self.quoted(reader.fixed64()? as i64),
            Kind::Bool => {
                let word: &[u8] = if reader.varint()? == 0 { b"false" } else { b"true" };
                self.out.extend_from_slice(word);
            }
            Kind::Enum(id) => {
                let number = reader.varint()? as i32;
                let plan = self.types.enumeration(id);
                match plan.name(number) {
                    _ if plan.is_null_value => self.out.extend_from_slice(b"null"),
                    Some(name) if !self.habits.enum_numbers => put_string(self.out, name),
                    _ => self.number(number),
                }
            }
            Kind::String => {
                let text =
                    std::str::from_utf8(reader.len_delimited()?).map_err(|_| ResponseError::Malformed)?;
                put_string(self.out, text);
            }
            Kind::Bytes => put_base64(self.out, reader.len_delimited()?),
            Kind::Message(_) => return Err(ResponseError::Malformed),
        }
        Ok(())
    }

    pub(super) fn number(&mut self, value: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// 64-bit integers are strings: a JSON number of theirs would lose digits in most readers.
    fn quoted(&mut self, value: impl itoa::Integer) {
        self.out.push(b'"');
        self.number(value);
        self.out.push(b'"');
    }

    pub(super) fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        } else {
            self.out.extend_from_slice(non_finite(value.is_nan(), value.is_sign_positive()));
        }
    }

    fn float(&mut self, value: f32) {
        if value.is_finite() {
            self.out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        } else {
            self.out.extend_from_slice(non_finite(value.is_nan(), value.is_sign_positive()));
        }
    }

    pub(super) fn default(&mut self, field: &Field) {
        let text: &[u8] = match (field.shape, field.kind) {
            (Shape::Repeated { .. }, _) => b"[]",
            (Shape::Map, _) | (_, Kind::Message(_)) => b"{}",
            (_, Kind::Enum(id)) => {
                let plan = self.types.enumeration(id);
                return match plan.name(0) {
                    _ if plan.is_null_value => self.out.extend_from_slice(b"null"),
                    Some(name) if !self.habits.enum_numbers => put_string(self.out, name),
                    _ => self.out.push(b'0'),
                };
            }
            (_, Kind::String | Kind::Bytes) => b"\"\"",
            (_, Kind::Bool) => b"false",
            (_, Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64) => b"\"0\"",
            (_, Kind::Double | Kind::Float) => b"0.0",
            (_, Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32) => b"0",
        };
        self.out.extend_from_slice(text);
    }
}

/// Whether absence of a field means a value: not so for messages, optional fields and oneofs.
fn has_default(field: &Field) -> bool {
    field.shape != Shape::Singular || !field.presence
}

pub(super) fn len_delimited(record: Record, bytes: &[u8]) -> Result<&[u8], ResponseError> {
    if record.wire_type != wire::LEN {
        return Err(ResponseError::Malformed);
    }
    Reader::at(&bytes[..record.end as usize], record.start as usize).len_delimited()
}

const fn non_finite(nan: bool, positive: bool) -> &'static [u8] {
    match (nan, positive) {
        (true, _) => b"\"NaN\"",
        (false, true) => b"\"Infinity\"",
        (false, false) => b"\"-Infinity\"",
    }
}

/// Standard base64 with padding, in quotes.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    use base64::Engine as _;
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exact, so this cannot fail.
    let written =
        base64::engine::general_purpose::STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}
