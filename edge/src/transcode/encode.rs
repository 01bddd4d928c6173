//! JSON to wire bytes in one pass: the reader's tokens are written as they come, and lengths are patched in behind them. What
//! does not fit the schema is noted as a violation and stepped over, so that one answer names them all; what is not JSON ends
//! the pass. `well_known` has the types whose JSON is not an object of their fields.

use super::assigned::{Assigned, Clash};
use super::json::{Malformed, Reader, Text};
use super::scalar::{self, Expected, Habits, Source};
use super::types::{Field, FieldId, Form, Kind, Message, MessageId, Shape, Types};
use super::{DEPTH_MAX, Violation, wire};

/// A client that gets this many violations at once has enough to do.
const VIOLATIONS_MAX: usize = 32;

/// One pass over one JSON text.
pub(super) struct Encoder<'a> {
    pub(super) types: &'a Types,
    pub(super) habits: Habits,
    pub(super) ignore_unknown: bool,
    pub(super) reader: Reader<'a>,
    pub(super) out: &'a mut Vec<u8>,
    /// What path, query and headers gave; paths there start at the request message, as `steps` does.
    pub(super) assigned: &'a Assigned,
    pub(super) steps: Vec<Step<'a>>,
    /// How many of `steps` lead into a list, a map or an Any, where nothing can have been given.
    pub(super) inside_lists: usize,
    /// How many messages are open on the wire.
    open: usize,
    pub(super) violations: Vec<Violation>,
    pub(super) scratch: Vec<u8>,
    /// Where in `out` the keys of the maps being read stand.
    pub(super) map_keys: Vec<(usize, usize)>,
    /// The paths that the body names, for an update mask.
    pub(super) mask: Option<Mask>,
    /// Where the objects inside the outermost Any begin that have an `@type`, with it, in order.
    pub(super) typed: Vec<(usize, Text<'a>)>,
    /// Up to which byte of the body `typed` is known.
    pub(super) typed_to: usize,
}

/// A step from the request message towards a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Field(MessageId, FieldId),
    Element(usize),
    Key(Text<'a>),
}

/// The fields that a body names, relative to the body.
#[derive(Debug)]
pub(super) struct Mask {
    /// How many steps lead to the body.
    pub(super) base: usize,
    pub(super) paths: Vec<String>,
}

/// Which fields of an object have been seen: one word for nearly every message.
#[derive(Default)]
struct Seen {
    low: u128,
    high: Vec<u128>,
}

impl Seen {
    /// Whether it is there for the first time.
    fn insert(&mut self, index: u16) -> bool {
        let (word, bit) = (usize::from(index / 128), 1 << (index % 128));
        let slot = match word.checked_sub(1) {
            None => &mut self.low,
            Some(word) => {
                if self.high.len() <= word {
                    self.high.resize(word + 1, 0);
                }
                &mut self.high[word]
            }
        };
        let fresh = *slot & bit == 0;
        *slot |= bit;
        fresh
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        types: &'a Types,
        habits: Habits,
        reader: Reader<'a>,
        assigned: &'a Assigned,
        out: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            types,
            habits,
            ignore_unknown: false,
            reader,
            out,
            assigned,
            steps: Vec::new(),
            inside_lists: 0,
            open: 0,
            violations: Vec::new(),
            scratch: Vec::new(),
            map_keys: Vec::new(),
            mask: None,
            typed: Vec::new(),
            typed_to: 0,
        }
    }

    /// The same pass where its message stands inside as many others already.
    pub(super) fn inside(self, open: usize) -> Self {
        Self { open, ..self }
    }

    pub(super) fn violate(&mut self, description: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let field = render(self.types, &self.steps);
            self.violations.push(Violation { field, description: description.to_owned() });
        }
    }

    /// Opens a nested message whose tag has been written. The bound is the one that protobuf's readers have: beyond it an
    /// upstream would only say that the edge sent garbage.
    pub(super) fn open(&mut self) -> Result<usize, Malformed> {
        if self.open == DEPTH_MAX {
            return Err(self.reader.fail("nested too deep"));
        }
        self.open += 1;
        Ok(wire::begin(self.out))
    }

    pub(super) fn close(&mut self, start: usize) {
        self.open -= 1;
        wire::end(self.out, start);
    }

    /// Reads a value as a message and appends its contents, neither tag nor length.
    pub(super) fn message(&mut self, id: MessageId) -> Result<(), Malformed> {
        let form = self.types.message(id).form;
        if form == Form::Object { self.object(id, None) } else { self.well_known(id, form) }
    }

    /// Reads an object of a message's fields; `skipped` is a key that is not one of them.
    pub(super) fn object(&mut self, id: MessageId, skipped: Option<&str>) -> Result<(), Malformed> {
        if self.reader.peek() != b'{' {
            return self.mismatch("must be an object");
        }
        self.reader.enter()?;
        let plan = self.types.message(id);
        let (mut first, mut hint) = (true, 0);
        let (mut seen, mut oneofs) = (Seen::default(), Seen::default());
        while let Some(key) = self.reader.key(&mut first)? {
            let Some(place) = self.find(plan, key, hint) else {
                self.unknown(key, skipped)?;
                continue;
            };
            hint = place + 1;
            self.steps.push(Step::Field(id, place));
            if seen.insert(place) {
                self.member(plan, place, &mut oneofs)?;
            } else {
                self.mismatch("must be given once")?;
            }
            self.steps.pop();
        }
        Ok(())
    }

    fn find(&mut self, plan: &Message, key: Text<'a>, hint: FieldId) -> Option<FieldId> {
        match key.plain() {
            Some(key) => plan.by_key(key, hint),
            None => plan.by_key(key.as_str(&mut self.scratch).as_bytes(), hint),
        }
    }

    fn unknown(&mut self, key: Text<'a>, skipped: Option<&str>) -> Result<(), Malformed> {
        let is_skipped = skipped.is_some_and(|skipped| key.as_str(&mut self.scratch) == skipped);
        if !is_skipped && !self.ignore_unknown && self.violations.len() < VIOLATIONS_MAX {
            let mut field = render(self.types, &self.steps);
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(key.as_str(&mut self.scratch));
            self.violations.push(Violation { field, description: "is not a known field".to_owned() });
        }
        self.reader.skip()
    }

    /// Reads the value of a field whose key has been read and appends its records.
    fn member(&mut self, plan: &Message, place: FieldId, oneofs: &mut Seen) -> Result<(), Malformed> {
        let field = plan.field(place);
        if self.reader.peek() == b'n'
            && (field.shape != Shape::Singular || !self.types.takes_null(field.kind))
        {
            self.reader.word()?;
            self.note_for_mask();
            return Ok(());
        }
        if let Some(oneof) = field.oneof
            && (!oneofs.insert(oneof) || self.given_member(oneof).is_some_and(|given| given != place))
        {
            return self.mismatch(Clash::Oneof.description());
        }
        self.field(field)
    }

    /// Reads a body that stands for the field at `path` of a message and appends it inside the messages on the way.
    pub(super) fn body(&mut self, at: MessageId, path: &[FieldId]) -> Result<(), Malformed> {
        let Some((place, rest)) = path.split_first() else { return self.message(at) };
        let plan = self.types.message(at);
        self.steps.push(Step::Field(at, *place));
        match plan.field(*place).kind.message() {
            Some(next) if !rest.is_empty() => {
                wire::put_tag(self.out, plan.field(*place).number, wire::LEN);
                let length = self.open()?;
                self.body(next, rest)?;
                self.close(length);
            }
            _ => self.member(plan, *place, &mut Seen::default())?,
        }
        self.steps.pop();
        Ok(())
    }

    /// Reads the value of a field and appends its records.
    fn field(&mut self, field: &Field) -> Result<(), Malformed> {
        match field.shape {
            Shape::Singular => self.singular(field),
            Shape::Repeated { packed } => {
                self.note_for_mask();
                self.list(field, packed)
            }
            Shape::Map => {
                self.note_for_mask();
                self.map(field)
            }
        }
    }

    fn singular(&mut self, field: &Field) -> Result<(), Malformed> {
        let start = self.out.len();
        wire::put_tag(self.out, field.number, field.kind.wire_type());
        let at = self.out.len();
        if let Kind::Message(id) = field.kind {
            let noted = self.mask.as_ref().map_or(0, |mask| mask.paths.len());
            let length = self.open()?;
            self.message(id)?;
            self.close(length);
            // A message that names fields stands for them in a mask; one that names none stands for itself.
            if self.mask.as_ref().is_some_and(|mask| mask.paths.len() == noted) {
                self.note_for_mask();
            }
        } else {
            self.note_for_mask();
            self.scalar(field.kind)?;
        }
        if self.inside_lists == 0 && !self.assigned.is_empty() {
            let given = self.assigned.record(field_path(&self.steps));
            if given.is_some_and(|given| *given != self.out[start..]) {
                self.violate(Clash::Contradiction.description());
            }
        }
        if !field.presence && scalar::is_default(&self.out[at..]) {
            self.out.truncate(start);
        }
        Ok(())
    }

    /// Reads a value of a scalar kind and appends it without its tag.
    pub(super) fn scalar(&mut self, kind: Kind) -> Result<(), Malformed> {
        let verdict: Result<(), Expected> = match self.reader.peek() {
            b'"' => {
                let value = self.reader.string()?;
                if let (Kind::String, Some(plain)) = (kind, value.plain()) {
                    wire::put_varint(self.out, plain.len() as u64);
                    self.out.extend_from_slice(plain);
                    return Ok(());
                }
                let value = value.as_str(&mut self.scratch);
                scalar::put(self.types, self.habits, kind, Source::JsonString, value, self.out)
            }
            b'-' | b'0'..=b'9' => {
                let value = self.reader.number()?;
                scalar::put(self.types, self.habits, kind, Source::JsonNumber, value, self.out)
            }
            b't' | b'f' if kind == Kind::Bool => {
                let value = self.reader.word()?;
                self.out.push(u8::from(value == "true"));
                Ok(())
            }
            b'n' if self.types.takes_null(kind) => {
                self.reader.word()?;
                self.out.push(0);
                Ok(())
            }
            _ => return self.mismatch(expected(kind)),
        };
        verdict.or_else(|description| {
            self.violate(description);
            Ok(())
        })
    }

    fn list(&mut self, field: &Field, packed: bool) -> Result<(), Malformed> {
        if self.reader.peek() != b'[' {
            return self.mismatch("must be an array");
        }
        self.reader.enter()?;
        let packed = packed && field.kind.wire_type() != wire::LEN;
        let start = self.out.len();
        let length = if packed {
            wire::put_tag(self.out, field.number, wire::LEN);
            Some(wire::begin(self.out))
        } else {
            None
        };
        self.inside_lists += 1;
        let (mut first, mut index) = (true, 0);
        while self.reader.element(&mut first)? {
            self.steps.push(Step::Element(index));
            if !packed {
                wire::put_tag(self.out, field.number, field.kind.wire_type());
            }
            self.element(field.kind)?;
            self.steps.pop();
            index += 1;
        }
        self.inside_lists -= 1;
        match length {
            Some(_) if index == 0 => self.out.truncate(start),
            Some(length) => wire::end(self.out, length),
            None => {}
        }
        Ok(())
    }

    /// Reads one value of a list or map and appends it without its tag.
    fn element(&mut self, kind: Kind) -> Result<(), Malformed> {
        if self.reader.peek() == b'n' && !self.types.takes_null(kind) {
            return self.mismatch("must not be null");
        }
        let Kind::Message(id) = kind else { return self.scalar(kind) };
        let length = self.open()?;
        self.message(id)?;
        self.close(length);
        Ok(())
    }

    fn map(&mut self, field: &Field) -> Result<(), Malformed> {
        let Kind::Message(entry) = field.kind else { return self.mismatch("must be an object") };
        let (key_field, value_field) =
            (self.types.message(entry).field(0), self.types.message(entry).field(1));
        self.entries(field.number, |encoder, key| {
            wire::put_tag(encoder.out, 1, key_field.kind.wire_type());
            let key = key.as_str(&mut encoder.scratch);
            // A key is a scalar in quotes: numbers and booleans as a URL would spell them.
            let source = if key_field.kind == Kind::Bool { Source::Url } else { Source::JsonString };
            let verdict =
                scalar::put(encoder.types, encoder.habits, key_field.kind, source, key, encoder.out);
            if let Err(description) = verdict {
                encoder.violate(description);
            }
            let end = encoder.out.len();
            wire::put_tag(encoder.out, 2, value_field.kind.wire_type());
            encoder.element(value_field.kind)?;
            Ok(end)
        })
    }

    /// Reads an object as map entries under a field number. `entry` appends key and value and says where the key ends.
    pub(super) fn entries(
        &mut self,
        number: u32,
        mut entry: impl FnMut(&mut Self, Text<'a>) -> Result<usize, Malformed>,
    ) -> Result<(), Malformed> {
        if self.reader.peek() != b'{' {
            return self.mismatch("must be an object");
        }
        self.reader.enter()?;
        self.inside_lists += 1;
        let outer = self.map_keys.len();
        let mut first = true;
        while let Some(key) = self.reader.key(&mut first)? {
            self.steps.push(Step::Key(key));
            wire::put_tag(self.out, number, wire::LEN);
            let length = self.open()?;
            let key_end = entry(self, key)?;
            let key_length = key_end - length;
            let body = self.out.len() - length;
            self.close(length);
            // A longer length moved the entry.
            let key_start = self.out.len() - body;
            self.map_keys.push((key_start, key_start + key_length));
            self.steps.pop();
        }
        self.inside_lists -= 1;
        let out = &*self.out;
        self.map_keys[outer..].sort_unstable_by(|a, b| out[a.0..a.1].cmp(&out[b.0..b.1]));
        let twice = self.map_keys[outer..]
            .windows(2)
            .any(|pair| out[pair[0].0..pair[0].1] == out[pair[1].0..pair[1].1]);
        self.map_keys.truncate(outer);
        if twice {
            self.violate("has a key twice");
        }
        Ok(())
    }

    /// Notes a violation and steps over the value.
    pub(super) fn mismatch(&mut self, description: Expected) -> Result<(), Malformed> {
        self.violate(description);
        self.reader.skip()
    }

    /// The member of a oneof of the message being read that has been given from outside; the last step is a member.
    fn given_member(&self, oneof: u16) -> Option<FieldId> {
        if self.inside_lists > 0 || self.assigned.is_empty() {
            return None;
        }
        self.assigned.member(field_path(&self.steps[..self.steps.len() - 1]), oneof)
    }

    fn note_for_mask(&mut self) {
        if let Some(mask) = &mut self.mask
            && self.inside_lists == 0
            && self.steps.len() > mask.base
        {
            mask.paths.push(render(self.types, &self.steps[mask.base..]));
        }
    }
}

fn field_path<'s>(steps: &'s [Step<'_>]) -> impl Iterator<Item = FieldId> + Clone + 's {
    steps.iter().filter_map(|step| match step {
        Step::Field(_, field) => Some(*field),
        Step::Element(_) | Step::Key(_) => None,
    })
}

const fn expected(kind: Kind) -> Expected {
    match kind {
        Kind::Double | Kind::Float => "must be a number",
        Kind::Bool => "must be true or false",
        Kind::String => "must be a string",
        Kind::Bytes => "must be a base64 string",
        Kind::Enum(_) => "must be the name or number of an enum value",
        Kind::Message(_) => "must be an object",
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => "must be an integer",
    }
}

/// A path as violations name it: `entries[3].tags["a"].label`, proto names.
pub(super) fn render(types: &Types, steps: &[Step<'_>]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Field(message, field) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&types.message(*message).field(*field).name);
            }
            Step::Element(index) => {
                path.push('[');
                path.push_str(itoa::Buffer::new().format(*index));
                path.push(']');
            }
            Step::Key(key) => {
                path.push_str("[\"");
                path.push_str(key.as_str(&mut Vec::new()));
                path.push_str("\"]");
            }
        }
    }
    path
}
