//! Plans: what a message type's descriptor says, laid out for one pass over JSON or wire bytes. Every message of a descriptor
//! set is compiled at load, so that `Any` costs no more than any other type. Nothing here is looked up by descriptor again.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality as Label, DescriptorPool, FieldDescriptor, Kind as ProtoKind, MessageDescriptor,
};

use super::keys::KeyTable;
use super::wire;

/// The message types of one descriptor set, compiled.
#[derive(Debug, Default)]
pub struct Types {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<String, MessageId>,
}

/// The place of a message in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u32);

/// The place of an enum in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumId(u32);

/// The place of a field in its message, in the order of declaration.
pub type FieldId = u16;

#[derive(Debug)]
pub struct Message {
    pub name: String,
    pub form: Form,
    pub fields: Vec<Field>,
    /// How many oneofs it has.
    pub oneofs: usize,
    keys: KeyTable,
    numbers: Numbers,
}

/// How a message looks in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object of its fields.
    Object,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Any,
    /// As its one field.
    Wrapper,
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// The proto name.
    pub name: String,
    /// `"jsonName":`, ready to print.
    pub json_key: String,
    /// `"proto_name":`, ready to print.
    pub proto_key: String,
    pub kind: Kind,
    pub shape: Shape,
    /// Whether an explicit default differs from absence.
    pub presence: bool,
    /// The oneof it belongs to, by its place in the message.
    pub oneof: Option<u16>,
}

/// How often a field may stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Singular,
    Repeated {
        packed: bool,
    },
    /// Its kind is the entry message: field 0 is the key, field 1 the value.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
}

#[derive(Debug)]
pub struct Enum {
    /// `google.protobuf.NullValue`, whose JSON is `null`.
    pub is_null_value: bool,
    by_name: HashMap<String, i32>,
    /// Sorted; of several names of a number the first declared.
    by_number: Vec<(i32, String)>,
}

/// From field numbers to places: a table where they are dense, else a search.
#[derive(Debug)]
enum Numbers {
    Dense(Vec<FieldId>),
    Sparse(Vec<(u32, FieldId)>),
}

const NO_FIELD: FieldId = FieldId::MAX;
/// A table of at most this many numbers costs less than the search it saves.
const DENSE_MAX: u32 = 1024;

impl Kind {
    /// The message of a message kind.
    pub(super) fn message(self) -> Option<MessageId> {
        if let Self::Message(id) = self { Some(id) } else { None }
    }

    pub(super) const fn wire_type(self) -> u8 {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => wire::FIXED64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => wire::FIXED32,
            Self::String | Self::Bytes | Self::Message(_) => wire::LEN,
            Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Sint32
            | Self::Sint64
            | Self::Bool
            | Self::Enum(_) => wire::VARINT,
        }
    }
}

impl Enum {
    pub(super) fn number(&self, name: &str, any_case: bool) -> Option<i32> {
        let exact = self.by_name.get(name).copied();
        if exact.is_some() || !any_case {
            return exact;
        }
        self.by_number.iter().find(|(_, other)| other.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
    }

    pub(super) fn name(&self, number: i32) -> Option<&str> {
        let position = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.by_number[position].1)
    }
}

impl Message {
    /// The field of a JSON key, in either spelling. `hint` is the place after the last one found: clients mostly write
    /// fields in the order of declaration.
    pub(super) fn by_key(&self, key: &[u8], hint: FieldId) -> Option<FieldId> {
        if let Some(field) = self.fields.get(usize::from(hint))
            && field.json_key.len() == key.len() + 3
            && &field.json_key.as_bytes()[1..=key.len()] == key
        {
            return Some(hint);
        }
        self.keys.get(key)
    }

    pub(super) fn by_number(&self, number: u32) -> Option<FieldId> {
        let found = match &self.numbers {
            Numbers::Dense(table) => *table.get(number as usize)?,
            Numbers::Sparse(table) => {
                table[table.binary_search_by_key(&number, |(number, _)| *number).ok()?].1
            }
        };
        (found != NO_FIELD).then_some(found)
    }

    pub(super) fn field(&self, id: FieldId) -> &Field {
        &self.fields[usize::from(id)]
    }
}

impl Types {
    /// Compiles every message of a set.
    ///
    /// # Errors
    /// Names a message with more fields than can be numbered.
    pub fn compile(pool: &DescriptorPool) -> Result<Self, String> {
        let mut types = Self::default();
        let mut enums = HashMap::new();
        for descriptor in pool.all_enums() {
            enums.insert(descriptor.full_name().to_owned(), EnumId(index(types.enums.len())?));
            let mut by_number: Vec<(i32, String)> =
                descriptor.values().map(|value| (value.number(), value.name().to_owned())).collect();
            let by_name = by_number.iter().map(|(number, name)| (name.clone(), *number)).collect();
            by_number.sort_by_key(|(number, _)| *number);
            by_number.dedup_by_key(|(number, _)| *number);
            let is_null_value = descriptor.full_name() == "google.protobuf.NullValue";
            types.enums.push(Enum { is_null_value, by_name, by_number });
        }
        let descriptors: Vec<MessageDescriptor> = pool.all_messages().collect();
        for (place, descriptor) in descriptors.iter().enumerate() {
            types.by_name.insert(descriptor.full_name().to_owned(), MessageId(index(place)?));
        }
        for descriptor in &descriptors {
            let message = types.compile_message(descriptor, &enums)?;
            types.messages.push(message);
        }
        Ok(types)
    }

    fn compile_message(
        &self,
        descriptor: &MessageDescriptor,
        enums: &HashMap<String, EnumId>,
    ) -> Result<Message, String> {
        // Declared order is the order of printing; groups have no JSON and are skipped as unknown fields.
        let mut declared: Vec<FieldDescriptor> =
            descriptor.fields().filter(|field| !field.is_group()).collect();
        declared.sort_by_key(|field| field.path().last().copied());
        let oneofs: Vec<String> = descriptor
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic())
            .map(|oneof| oneof.name().to_owned())
            .collect();
        let fields: Vec<Field> = declared
            .iter()
            .map(|field| self.compile_field(field, &oneofs, enums))
            .collect::<Result<_, _>>()?;
        if fields.len() >= usize::from(NO_FIELD) {
            return Err(format!("message {} has too many fields", descriptor.full_name()));
        }
        // JSON names come first: one wins where it is another field's proto name.
        let json = declared.iter().zip(0..).map(|(field, id)| (field.json_name().as_bytes().to_vec(), id));
        let proto = declared.iter().zip(0..).map(|(field, id)| (field.name().as_bytes().to_vec(), id));
        let keys = KeyTable::new(json.chain(proto));
        Ok(Message {
            name: descriptor.full_name().to_owned(),
            form: form(descriptor.full_name()),
            numbers: Numbers::new(&fields),
            fields,
            oneofs: oneofs.len(),
            keys,
        })
    }

    fn compile_field(
        &self,
        field: &FieldDescriptor,
        oneofs: &[String],
        enums: &HashMap<String, EnumId>,
    ) -> Result<Field, String> {
        let unknown = || format!("field {} has a type outside its set", field.full_name());
        let kind = match field.kind() {
            ProtoKind::Double => Kind::Double,
            ProtoKind::Float => Kind::Float,
            ProtoKind::Int32 => Kind::Int32,
            ProtoKind::Int64 => Kind::Int64,
            ProtoKind::Uint32 => Kind::Uint32,
            ProtoKind::Uint64 => Kind::Uint64,
            ProtoKind::Sint32 => Kind::Sint32,
            ProtoKind::Sint64 => Kind::Sint64,
            ProtoKind::Fixed32 => Kind::Fixed32,
            ProtoKind::Fixed64 => Kind::Fixed64,
            ProtoKind::Sfixed32 => Kind::Sfixed32,
            ProtoKind::Sfixed64 => Kind::Sfixed64,
            ProtoKind::Bool => Kind::Bool,
            ProtoKind::String => Kind::String,
            ProtoKind::Bytes => Kind::Bytes,
            ProtoKind::Enum(descriptor) => {
                Kind::Enum(*enums.get(descriptor.full_name()).ok_or_else(unknown)?)
            }
            ProtoKind::Message(descriptor) => {
                Kind::Message(*self.by_name.get(descriptor.full_name()).ok_or_else(unknown)?)
            }
        };
        let shape = match field.cardinality() {
            Label::Repeated if field.is_map() => Shape::Map,
            Label::Repeated => Shape::Repeated { packed: field.is_packed() },
            Label::Optional | Label::Required => Shape::Singular,
        };
        let oneof =
            field.containing_oneof().and_then(|oneof| oneofs.iter().position(|name| name == oneof.name()));
        Ok(Field {
            number: field.number(),
            name: field.name().to_owned(),
            json_key: key(field.json_name()),
            proto_key: key(field.name()),
            kind,
            shape,
            presence: field.supports_presence(),
            oneof: oneof.map(|place| place as u16),
        })
    }

    /// The place of a message by its full name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<MessageId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    pub(super) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id.0 as usize]
    }

    /// Whether `null` is a value of this kind and not its absence.
    pub(super) fn takes_null(&self, kind: Kind) -> bool {
        if let Kind::Enum(id) = kind {
            return self.enumeration(id).is_null_value;
        }
        kind.message().is_some_and(|id| self.message(id).form == Form::Value)
    }
}

impl Numbers {
    fn new(fields: &[Field]) -> Self {
        let max = fields.iter().map(|field| field.number).max().unwrap_or(0);
        let pairs = fields.iter().map(|field| field.number).zip(0..);
        if max < DENSE_MAX {
            let mut table = vec![NO_FIELD; max as usize + 1];
            for (number, id) in pairs {
                table[number as usize] = id;
            }
            return Self::Dense(table);
        }
        let mut table: Vec<(u32, FieldId)> = pairs.collect();
        table.sort_unstable();
        Self::Sparse(table)
    }
}

fn index(place: usize) -> Result<u32, String> {
    u32::try_from(place).map_err(|_| "too many types".to_owned())
}

/// A field's name as a JSON key. Names come from `.proto` files: `json_name` may hold anything.
fn key(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len() + 3);
    super::json::put_string(&mut out, name);
    out.push(b':');
    String::from_utf8_lossy(&out).into_owned()
}

fn form(name: &str) -> Form {
    let Some(name) = name.strip_prefix("google.protobuf.") else { return Form::Object };
    match name {
        "Timestamp" => Form::Timestamp,
        "Duration" => Form::Duration,
        "FieldMask" => Form::FieldMask,
        "Struct" => Form::Struct,
        "Value" => Form::Value,
        "ListValue" => Form::ListValue,
        "Any" => Form::Any,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
        | "BoolValue" | "StringValue" | "BytesValue" => Form::Wrapper,
        _ => Form::Object,
    }
}
