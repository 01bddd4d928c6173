//! Path variables, query parameters and headers into single fields of the request message. Their texts become records at once;
//! contradictions between them are violations. The query's keys are resolved here: `a.b`, either spelling, `m[key]` for maps.

use super::assigned::{Assigned, append_nested};
use super::encode::Encoder;
use super::json::Reader;
use super::scalar::{self, Expected, Habits, Source};
use super::types::{Field, FieldId, Form, Kind, MessageId, Shape, Types};
use super::{Options, Violation, wire};
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
    /// A record under construction.
    record: Vec<u8>,
}

/// The part of a message that the query may not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed<'a> {
    Nothing,
    /// The body is the whole message.
    Everything,
    /// Raw bytes fill the field at this path; keys inside it are skipped.
    Raw(&'a [FieldId]),
}

/// Where a query key leads.
struct Target<'k> {
    path: Vec<FieldId>,
    map_key: Option<&'k str>,
}

impl<'a> Binder<'a> {
    pub(super) fn new(types: &'a Types, root: MessageId, habits: Habits) -> Self {
        Self {
            types,
            root,
            habits,
            assigned: Assigned::default(),
            violations: Vec::new(),
            record: Vec::new(),
        }
    }

    fn violate(&mut self, field: &str, description: Expected) {
        self.violations.push(Violation { field: field.to_owned(), description: description.to_owned() });
    }

    /// Gives a singular field the value of a path variable or a header. `name` is the field's path as violations name it.
    pub(super) fn give(&mut self, path: &[FieldId], name: &str, value: &str) {
        if let Err(description) = self.try_give(path, value, false) {
            self.violate(name, description);
        }
    }

    fn try_give(&mut self, path: &[FieldId], value: &str, by_query: bool) -> Result<(), Expected> {
        let field = field_at(self.types, self.root, path).ok_or("is not a field")?;
        self.record.clear();
        let at = put_record(self.types, self.habits, field, value, &mut self.record)?;
        let written = field.presence || !scalar::is_default(&self.record[at..]);
        self.assigned.give(path, &self.record, by_query, written).map_err(|clash| clash.description())?;
        self.assigned.give_oneofs(self.types, self.root, path).map_err(|clash| clash.description())
    }

    /// Binds a whole query, or a form. Lists and maps go straight to `out`.
    pub(super) fn query(
        &mut self,
        query: &str,
        options: &Options,
        plus_is_space: bool,
        closed: Closed<'_>,
        out: &mut Vec<u8>,
    ) {
        for (index, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if index == PARAMETERS_MAX {
                return self.violate("", "has too many query parameters");
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| decode_component(text, plus_is_space);
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                self.violate(key, "has a broken escape");
                continue;
            };
            if !options.ignored_query.iter().any(|ignored| *ignored == key) {
                self.parameter(&key, &value, options, closed, out);
            }
        }
    }

    fn parameter(
        &mut self,
        key: &str,
        value: &str,
        options: &Options,
        closed: Closed<'_>,
        out: &mut Vec<u8>,
    ) {
        let target = if closed == Closed::Everything { None } else { resolve(self.types, self.root, key) };
        let Some(target) = target else {
            if !options.ignore_unknown_query {
                self.violate(key, "is not a known query parameter");
            }
            return;
        };
        if matches!(closed, Closed::Raw(body) if target.path.starts_with(body)) {
            return;
        }
        if let Err(description) = self.try_parameter(&target, value, out) {
            let name = proto_name(self.types, self.root, &target.path);
            self.violate(&name, description);
        }
    }

    fn try_parameter(&mut self, target: &Target<'_>, value: &str, out: &mut Vec<u8>) -> Result<(), Expected> {
        let field = field_at(self.types, self.root, &target.path).ok_or("is not a field")?;
        match (field.shape, target.map_key) {
            (Shape::Singular, _) => return self.try_give(&target.path, value, true),
            (Shape::Repeated { .. }, _) => {
                self.record.clear();
                put_record(self.types, self.habits, field, value, &mut self.record)?;
            }
            (Shape::Map, None) => return Err("is a map: write name[key]=value"),
            (Shape::Map, Some(key)) => self.put_entry(field, key, value)?,
        }
        self.assigned
            .give_oneofs(self.types, self.root, &target.path)
            .map_err(|clash| clash.description())?;
        append_nested(self.types, self.root, &target.path, &self.record, out);
        Ok(())
    }

    fn put_entry(&mut self, field: &Field, key: &str, value: &str) -> Result<(), Expected> {
        let Kind::Message(entry) = field.kind else { return Err("is not a map") };
        let plan = self.types.message(entry);
        self.record.clear();
        wire::put_tag(&mut self.record, field.number, wire::LEN);
        let start = wire::begin(&mut self.record);
        put_record(self.types, self.habits, plan.field(0), key, &mut self.record)?;
        put_record(self.types, self.habits, plan.field(1), value, &mut self.record)?;
        wire::end(&mut self.record, start);
        Ok(())
    }
}

/// Appends tag and value of one occurrence of a field; says where the value starts.
fn put_record(
    types: &Types,
    habits: Habits,
    field: &Field,
    value: &str,
    out: &mut Vec<u8>,
) -> Result<usize, Expected> {
    wire::put_tag(out, field.number, field.kind.wire_type());
    let at = out.len();
    let Kind::Message(id) = field.kind else {
        scalar::put(types, habits, field.kind, Source::Url, value, out)?;
        return Ok(at);
    };
    let start = wire::begin(out);
    match types.message(id).form {
        Form::Struct | Form::Value | Form::ListValue => put_json(types, habits, id, value, out)?,
        Form::Object | Form::Any => return Err("is a message: name one of its fields"),
        Form::Timestamp | Form::Duration | Form::FieldMask | Form::Wrapper => {
            scalar::put_well_known(types, habits, id, Source::Url, value, out)?;
        }
    }
    wire::end(out, start);
    Ok(at)
}

/// A Struct, Value or ListValue as JSON text.
fn put_json(
    types: &Types,
    habits: Habits,
    id: MessageId,
    value: &str,
    out: &mut Vec<u8>,
) -> Result<(), Expected> {
    let nothing = Assigned::default();
    let reader = Reader::new(value.as_bytes()).map_err(|_| "must be JSON")?;
    let mut encoder = Encoder::new(types, habits, reader, &nothing, out);
    let verdict = encoder.message(id).and_then(|()| encoder.reader.finish());
    if verdict.is_err() || !encoder.violations.is_empty() {
        return Err("must be JSON that fits its type");
    }
    Ok(())
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

/// Follows a query key from a message. A whole key comes before a dotted one: a JSON name may hold dots and brackets.
fn resolve<'k>(types: &Types, root: MessageId, key: &'k str) -> Option<Target<'k>> {
    let mut path = Vec::new();
    let (mut at, mut rest) = (root, key);
    loop {
        let plan = types.message(at);
        if !path.is_empty() && plan.form != Form::Object {
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
