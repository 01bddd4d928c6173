//! Path variables, query parameters and headers into single fields of the request message. Their texts become records at once;
//! contradictions between them are violations. The query's keys are resolved here: `a.b`, either spelling, `m[key]` for maps.

use super::assigned::{Assigned, Giver, append_nested};
use super::encode::Encoder;
use super::json::Reader;
use super::scalar::{self, Expected, Habits, Source};
use super::types::{Field, FieldId, Form, Kind, MessageId, Shape, Types};
use super::{DEPTH_MAX, Violation, wire};
use crate::route::decode_component;

/// More parameters than this are no form a person filled in.
const PARAMETERS_MAX: usize = 512;

/// Gathers what path, query and headers say about one request.
pub(super) struct Binder<'a> {
    pub(super) types: &'a Types,
    pub(super) root: MessageId,
    pub(super) habits: Habits,
    pub(super) assigned: Assigned,
    pub(super) violations: Vec<Violation>,
    /// What a form names, relative to the body field, if that is to be known.
    pub(super) named: Option<Vec<String>>,
    /// A record under construction.
    record: Vec<u8>,
    /// A field of the root that a header has given and that the query is not asked about.
    pub(super) settled: Option<FieldId>,
    /// How many more elements the JSON among the values may have.
    elements_left: usize,
}

/// The part of a message that names may not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed<'a> {
    Nothing,
    /// The body is the whole message.
    Everything,
    /// Raw bytes fill the field at this path; a query's keys inside it are skipped.
    Raw(&'a [FieldId]),
}

/// Names that come together: a query or a form.
pub(super) struct Scope<'a> {
    pub(super) giver: Giver,
    /// Where in the message they begin.
    pub(super) base: &'a [FieldId],
    pub(super) closed: Closed<'a>,
    /// Names that are not the request's.
    pub(super) selectors: &'a [&'a str],
    /// Names that never bind.
    pub(super) ignored: &'a [String],
    /// Whether names that are no field's are skipped.
    pub(super) ignore_unknown: bool,
}

/// Where a name leads.
pub(super) struct Target<'k> {
    pub(super) path: Vec<FieldId>,
    map_key: Option<&'k str>,
}

impl<'a> Binder<'a> {
    pub(super) fn new(types: &'a Types, root: MessageId, habits: Habits, elements_max: usize) -> Self {
        Self {
            types,
            root,
            habits,
            assigned: Assigned::default(),
            violations: Vec::new(),
            named: None,
            record: Vec::new(),
            settled: None,
            elements_left: elements_max,
        }
    }

    fn violate(&mut self, field: &str, description: Expected) {
        self.violations.push(Violation { field: field.to_owned(), description: description.to_owned() });
    }

    /// Gives a singular field the value of a path variable or a header. `name` is the field's path as violations name it.
    pub(super) fn give(&mut self, path: &[FieldId], name: &str, value: &str) {
        if let Err(description) = self.try_give(path, value, Giver::Head) {
            self.violate(name, description);
        }
    }

    fn try_give(&mut self, path: &[FieldId], value: &str, giver: Giver) -> Result<(), Expected> {
        let field = field_at(self.types, self.root, path).ok_or("is not a field")?;
        self.record.clear();
        let at = self.put_record(field, value, path.len())?;
        let written = field.presence || !scalar::is_default(&self.record[at..]);
        let record = std::mem::take(&mut self.record);
        let verdict = self.put(path, &record, giver, written);
        self.record = record;
        verdict
    }

    /// Gives a singular field its record.
    pub(super) fn put(
        &mut self,
        path: &[FieldId],
        record: &[u8],
        giver: Giver,
        written: bool,
    ) -> Result<(), Expected> {
        self.assigned.give(path, record, giver, written).map_err(|clash| clash.description())?;
        self.assigned.give_oneofs(self.types, self.root, path).map_err(|clash| clash.description())
    }

    /// Binds a whole query, or a form that is written like one. Lists and maps go straight to `out`.
    pub(super) fn pairs(&mut self, text: &str, plus_is_space: bool, scope: &Scope<'_>, out: &mut Vec<u8>) {
        for (index, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if index == PARAMETERS_MAX {
                let form = scope.giver == Giver::Form;
                return self
                    .violate("", if form { "has too many fields" } else { "has too many query parameters" });
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| decode_component(text, plus_is_space);
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                self.violate(key, "has a broken escape");
                continue;
            };
            self.text(&key, &value, scope, out);
        }
    }

    /// Binds one text by its name.
    pub(super) fn text(&mut self, key: &str, value: &str, scope: &Scope<'_>, out: &mut Vec<u8>) {
        if scope.selectors.contains(&key) || scope.ignored.iter().any(|ignored| ignored == key) {
            return;
        }
        let reach = || resolve(self.types, self.root, scope.base, key);
        let target = if scope.closed == Closed::Everything { None } else { reach() };
        let Some(target) = target else { return self.unknown(key, scope) };
        if scope.giver == Giver::Query && self.settled.is_some_and(|settled| target.path == [settled]) {
            return;
        }
        if matches!(scope.closed, Closed::Raw(body) if target.path.starts_with(body)) {
            if scope.giver == Giver::Form {
                self.violate(key, "is what the file part fills");
            }
            return;
        }
        self.note(&target, scope);
        if let Err(description) = self.try_text(&target, value, scope.giver, out) {
            let name = proto_name(self.types, self.root, &target.path);
            self.violate(&name, description);
        }
    }

    /// Notes a name that leads nowhere.
    pub(super) fn unknown(&mut self, key: &str, scope: &Scope<'_>) {
        if scope.ignore_unknown {
            return;
        }
        if scope.giver != Giver::Form {
            return self.violate(key, "is not a known query parameter");
        }
        let base = proto_name(self.types, self.root, scope.base);
        let dot = if base.is_empty() { "" } else { "." };
        self.violate(&format!("{base}{dot}{key}"), "is not a known field");
    }

    /// Notes that a form names a field.
    pub(super) fn note(&mut self, target: &Target<'_>, scope: &Scope<'_>) {
        if scope.giver != Giver::Form {
            return;
        }
        let Some(named) = &mut self.named else { return };
        let path = proto_name(self.types, self.root, &target.path);
        let base = proto_name(self.types, self.root, scope.base);
        let path = path.strip_prefix(&base).unwrap_or(&path).trim_start_matches('.').to_owned();
        if !named.contains(&path) {
            named.push(path);
        }
    }

    fn try_text(
        &mut self,
        target: &Target<'_>,
        value: &str,
        giver: Giver,
        out: &mut Vec<u8>,
    ) -> Result<(), Expected> {
        let field = field_at(self.types, self.root, &target.path).ok_or("is not a field")?;
        match (field.shape, target.map_key) {
            (Shape::Singular, _) => return self.try_give(&target.path, value, giver),
            (Shape::Repeated { .. }, _) => {
                self.record.clear();
                self.put_record(field, value, target.path.len() + 1)?;
            }
            (Shape::Map, None) => return Err("is a map: write name[key]=value"),
            (Shape::Map, Some(key)) => self.put_entry(field, key, value, target.path.len() + 1)?,
        }
        self.assigned
            .give_oneofs(self.types, self.root, &target.path)
            .map_err(|clash| clash.description())?;
        append_nested(self.types, self.root, &target.path, &self.record, out);
        Ok(())
    }

    fn put_entry(&mut self, field: &Field, key: &str, value: &str, depth: usize) -> Result<(), Expected> {
        let Kind::Message(entry) = field.kind else { return Err("is not a map") };
        let plan = self.types.message(entry);
        self.record.clear();
        wire::put_tag(&mut self.record, field.number, wire::LEN);
        let start = wire::begin(&mut self.record);
        self.put_record(plan.field(0), key, depth)?;
        self.put_record(plan.field(1), value, depth)?;
        wire::end(&mut self.record, start);
        Ok(())
    }

    /// Appends tag and value of one occurrence of a field to the record; says where the value starts. `depth` is how many JSON
    /// containers would stand around it in a body: what a body may not say, a query may not either.
    fn put_record(&mut self, field: &Field, value: &str, depth: usize) -> Result<usize, Expected> {
        if depth > DEPTH_MAX {
            return Err("is nested too deep");
        }
        let (types, habits) = (self.types, self.habits);
        wire::put_tag(&mut self.record, field.number, field.kind.wire_type());
        let at = self.record.len();
        let Kind::Message(id) = field.kind else {
            scalar::put(types, habits, field.kind, Source::Url, value, &mut self.record)?;
            return Ok(at);
        };
        let start = wire::begin(&mut self.record);
        match types.message(id).form {
            Form::Struct | Form::Value | Form::ListValue => self.put_json(id, value, depth)?,
            Form::Object | Form::Any => return Err("is a message: name one of its fields"),
            Form::Timestamp | Form::Duration | Form::FieldMask | Form::Wrapper => {
                scalar::put_well_known(types, habits, id, Source::Url, value, &mut self.record)?;
            }
        }
        wire::end(&mut self.record, start);
        Ok(at)
    }

    /// A Struct, Value or ListValue as JSON text.
    fn put_json(&mut self, id: MessageId, value: &str, depth: usize) -> Result<(), Expected> {
        let nothing = Assigned::default();
        let reader = Reader::new(value.as_bytes(), self.elements_left).map_err(|_| "must be JSON")?;
        let reader = reader.inside(depth);
        let mut encoder =
            Encoder::new(self.types, self.habits, reader, &nothing, &mut self.record).inside(depth);
        let verdict = encoder.message(id).and_then(|()| encoder.reader.finish());
        self.elements_left = encoder.reader.elements_left;
        match verdict {
            Ok(()) if encoder.violations.is_empty() => Ok(()),
            Err(malformed) if malformed.is_too_many() => Err("has more elements than the bound"),
            Ok(()) | Err(_) => Err("must be JSON that fits its type"),
        }
    }
}

/// The field at the end of a path.
pub(super) fn field_at<'t>(types: &'t Types, root: MessageId, path: &[FieldId]) -> Option<&'t Field> {
    let (last, way) = path.split_last()?;
    let mut at = root;
    for id in way {
        let Kind::Message(next) = types.message(at).field(*id).kind else { return None };
        at = next;
    }
    Some(types.message(at).field(*last))
}

/// A path in proto names.
pub(super) fn proto_name(types: &Types, root: MessageId, path: &[FieldId]) -> String {
    let names: Vec<&str> = (1..=path.len())
        .filter_map(|length| field_at(types, root, &path[..length]))
        .map(|f| f.name.as_str())
        .collect();
    names.join(".")
}

/// Follows a name from the message at `base`. A whole name comes before a dotted one: a JSON name may hold dots and brackets.
pub(super) fn resolve<'k>(
    types: &Types,
    root: MessageId,
    base: &[FieldId],
    key: &'k str,
) -> Option<Target<'k>> {
    let mut path = base.to_vec();
    let start = field_at(types, root, base).and_then(|field| field.kind.message());
    let (mut at, mut rest) = (start.unwrap_or(root), key);
    loop {
        let plan = types.message(at);
        // No message stands deeper; without the bound a message that holds itself would be followed as far as a form is long.
        if path.len() > base.len() && plan.form != Form::Object {
            return None;
        }
        if let Some(id) = plan.by_key(rest.as_bytes(), 0) {
            path.push(id);
            return Some(Target { path, map_key: None });
        }
        let (head, tail) = rest.split_at(rest.find(['.', '['])?);
        let id = plan.by_key(head.as_bytes(), 0)?;
        let field = plan.field(id);
        path.push(id);
        if path.len() > DEPTH_MAX {
            // Whoever gives it a value refuses, whatever else the key says.
            return Some(Target { path, map_key: None });
        }
        if let Some(inside) = tail.strip_prefix('[') {
            let map_key = inside.strip_suffix(']')?;
            return (field.shape == Shape::Map).then_some(Target { path, map_key: Some(map_key) });
        }
        match (field.shape, field.kind) {
            (Shape::Singular, Kind::Message(next)) => at = next,
            _ => return None,
        }
        rest = &tail[1..];
    }
}
