//! Schemas of messages: each once under `components`, by its full name, and referred to from everywhere else.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comment::Comments;
use super::{describe, well_known};
use crate::contract::{Described, RestOptions};
use crate::transcode::Options;

/// The schemas met so far.
pub(super) struct Schemas<'a> {
    pub(super) options: &'a Options,
    pub(super) comments: &'a Comments,
    /// The messages that are part of an answer.
    answered: HashSet<String>,
    components: BTreeMap<String, Value>,
    /// As the binding at hand has them.
    enum_numbers: bool,
    proto_names: bool,
}

/// The messages that are part of an answer of these bindings.
pub(super) fn answered(shown: &[Described<'_>]) -> HashSet<String> {
    let mut found = HashSet::new();
    for binding in shown {
        reach(binding.descriptor.output(), &mut found);
    }
    found
}

fn reach(message: MessageDescriptor, found: &mut HashSet<String>) {
    let mut open = vec![message];
    while let Some(message) = open.pop() {
        if found.insert(message.full_name().to_owned()) {
            open.extend(message.fields().filter_map(|field| field.kind().as_message().cloned()));
        }
    }
}

impl<'a> Schemas<'a> {
    pub(super) fn new(options: &'a Options, comments: &'a Comments, answered: HashSet<String>) -> Self {
        Self {
            options,
            comments,
            answered,
            components: BTreeMap::new(),
            enum_numbers: options.print_enum_numbers,
            proto_names: options.print_proto_names,
        }
    }

    /// What follows is of a method with these habits.
    pub(super) fn speak(&mut self, rest: &RestOptions) {
        self.enum_numbers = rest.print_enum_numbers.unwrap_or(self.options.print_enum_numbers);
        self.proto_names = rest.print_proto_names.unwrap_or(self.options.print_proto_names);
    }

    /// The component of a type: its full name, and more for a method that spells it unlike the others.
    fn component(&self, full_name: &str, has_fields: bool) -> String {
        let mut name = full_name.to_owned();
        if has_fields && self.proto_names != self.options.print_proto_names {
            name.push_str(if self.proto_names { "-proto_names" } else { "-json_names" });
        }
        if self.enum_numbers != self.options.print_enum_numbers {
            name.push_str(if self.enum_numbers { "-enum_numbers" } else { "-enum_names" });
        }
        name
    }

    pub(super) fn into_components(self) -> BTreeMap<String, Value> {
        self.components
    }

    /// The name of a field in JSON and in queries.
    pub(super) fn name(&self, field: &FieldDescriptor) -> String {
        if self.proto_names { field.name() } else { field.json_name() }.to_owned()
    }

    /// A message, by reference where it is an object.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if let Some(known) = well_known::message(name) {
            return known;
        }
        let component = self.component(name, true);
        if !self.components.contains_key(&component) {
            // A place is taken before the fields are walked: a message may hold itself.
            self.components.insert(component.clone(), Value::Null);
            let object = self.object(message, &[]);
            self.components.insert(component.clone(), object);
        }
        reference(&component)
    }

    /// A message's fields as an object, without those that come from elsewhere.
    pub(super) fn object(&mut self, message: &MessageDescriptor, without: &[&str]) -> Value {
        let mut properties = Map::new();
        let kept = |field: &FieldDescriptor| !without.contains(&field.name());
        for field in message.fields().filter(kept) {
            let schema = self.described_field(&field);
            properties.insert(self.name(&field), schema);
        }
        let mut object = Map::new();
        object.insert("type".to_owned(), "object".into());
        describe(&mut object, self.comments.of_descriptor(&message.parent_file(), message.path()));
        object.insert("properties".to_owned(), properties.into());
        let choices = self.choices(message, without);
        if !choices.is_empty() {
            object.insert("allOf".to_owned(), choices.into());
        }
        // Requests with unknown fields are refused. An answer may have more fields tomorrow.
        if !self.options.ignore_unknown_fields && !self.answered.contains(message.full_name()) {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object.into()
    }

    /// Oneofs: no two of their fields together.
    fn choices(&self, message: &MessageDescriptor, without: &[&str]) -> Vec<Value> {
        let mut rules = Vec::new();
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let fields = oneof.fields().filter(|field| !without.contains(&field.name()));
            let names: Vec<String> = fields.map(|field| self.name(&field)).collect();
            for (index, one) in names.iter().enumerate() {
                for other in &names[index + 1..] {
                    rules.push(json!({"not": {"required": [one, other]}}));
                }
            }
        }
        rules
    }

    /// A field with its comment.
    pub(super) fn described_field(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = self.field(field);
        let Some(object) = schema.as_object_mut() else { return schema };
        let comment = self.comments.of_descriptor(&field.parent_file(), field.path());
        let choice = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let choice = choice.map(|oneof| {
            let names: Vec<String> = oneof.fields().map(|field| format!("`{}`", self.name(&field))).collect();
            format!("At most one of {}.", names.join(", "))
        });
        let text: Vec<&str> = comment.into_iter().chain(choice.as_deref()).collect();
        if !text.is_empty() {
            describe(object, Some(&text.join("\n\n")));
        }
        if field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated()) {
            object.insert("deprecated".to_owned(), true.into());
        }
        schema
    }

    /// A field's value: a list, a map or one of its kind.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        if !field.is_map() {
            let one = self.kind(&field.kind());
            return if field.is_list() { json!({"type": "array", "items": one}) } else { one };
        }
        let kind = field.kind();
        let Some(entry) = kind.as_message() else { return json!({}) };
        let value = self.kind(&entry.map_entry_value_field().kind());
        let mut map = json!({"type": "object", "additionalProperties": value});
        if let (Some(pattern), Some(map)) = (key(&entry.map_entry_key_field().kind()), map.as_object_mut()) {
            map.insert("propertyNames".to_owned(), json!({"pattern": pattern}));
        }
        map
    }

    /// One value.
    fn kind(&mut self, kind: &Kind) -> Value {
        if let Some(message) = kind.as_message() {
            return self.message(message);
        }
        if let Some(values) = kind.as_enum() {
            return self.enumeration(values);
        }
        well_known::scalar(kind).unwrap_or_default()
    }

    fn enumeration(&mut self, values: &EnumDescriptor) -> Value {
        let name = values.full_name();
        if name == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        let component = self.component(name, false);
        if !self.components.contains_key(&component) {
            let file = values.parent_file();
            let mut lines: Vec<String> = Vec::new();
            lines.extend(self.comments.of_descriptor(&file, values.path()).map(|text| format!("{text}\n")));
            for value in values.values() {
                let comment = self.comments.of_descriptor(&file, value.path()).unwrap_or_default();
                lines.push(format!(
                    "- `{}` ({}): {}",
                    value.name(),
                    value.number(),
                    comment.replace('\n', " ")
                ));
            }
            let mut schema = if self.enum_numbers {
                json!({"type": "integer", "enum": values.values().map(|value| value.number()).collect::<BTreeSet<_>>()})
            } else {
                let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
                json!({"type": "string", "enum": names})
            };
            if let Some(schema) = schema.as_object_mut() {
                describe(schema, Some(&lines.join("\n")));
            }
            self.components.insert(component.clone(), schema);
        }
        reference(&component)
    }
}

/// What a map's key looks like when it is not any text.
fn key(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Bool => Some("^(true|false)$"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Some("^-?[0-9]+$")
        }
        Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => Some("^[0-9]+$"),
        Kind::String | Kind::Bytes | Kind::Double | Kind::Float | Kind::Message(_) | Kind::Enum(_) => None,
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}
