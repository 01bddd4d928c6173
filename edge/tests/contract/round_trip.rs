//! Random messages of every type in `conformance.proto`: what we print is what prost-reflect's serde prints, and reading it
//! back gives the message again. Random bytes and damaged JSON break nothing.

use std::sync::OnceLock;

use edge::contract::{Contract, HttpRule};
use edge::route::{self, Variables};
use edge::transcode;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::support;

fn contract() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let rule = HttpRule { post: Some("/v1/e".into()), body: "*".into(), ..HttpRule::default() };
        let unbound = HttpRule { get: Some("/v1/e".into()), ..HttpRule::default() };
        support::contract(
            vec![("edgeconf.v1.Conformance/Unary", vec![rule, unbound])],
            false,
            &route::Options::default(),
            &transcode::Options::default(),
            |_| {},
        )
        .unwrap()
    })
}

fn descriptor(name: &str) -> MessageDescriptor {
    support::pool().get_message_by_name(name).unwrap()
}

fn everything() -> MessageDescriptor {
    descriptor("edgeconf.v1.Everything")
}

/// Chooses by a seed (splitmix64): cheaper than a tree of strategies over a type that recurses in many fields. `fields` bounds
/// how many fields a message sets, and is what proptest shrinks.
struct Chooser {
    state: u64,
    fields: usize,
}

impl Chooser {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Small numbers, the edges of a type and everything between.
    fn integer(&mut self) -> u64 {
        let edges = [0, 1, 127, 128, u64::from(u32::MAX), 1 << 53, 1 << 63, u64::MAX];
        let value = self.next();
        match self.below(4) {
            0 => edges[(value % 8) as usize],
            1 => value % 300,
            2 => (value % 300).wrapping_neg(),
            _ => value,
        }
    }

    fn text(&mut self) -> String {
        let alphabet: Vec<char> = "ab\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}é€😀\u{2028}".chars().collect();
        let length = [0, 1, 7, 8, 9, 140][self.below(6) as usize];
        let plain = self.below(2) == 0;
        (0..length)
            .map(|_| if plain { 'x' } else { alphabet[self.below(alphabet.len() as u64) as usize] })
            .collect()
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: u32) -> DynamicMessage {
        if let Some(message) = self.well_known(descriptor, depth) {
            return message;
        }
        let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
        let mut message = DynamicMessage::new(descriptor.clone());
        for _ in 0..self.fields {
            let field = &fields[self.below(fields.len() as u64) as usize];
            if depth > 0 || !matches!(field.kind(), Kind::Message(_)) {
                message.set_field(field, self.field(field, depth));
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            let entries = (0..self.below(4)).map(|_| (self.map_key(&key), self.single(&value, depth)));
            return Value::Map(entries.collect());
        }
        if field.is_list() {
            return Value::List((0..self.below(4)).map(|_| self.single(&field.kind(), depth)).collect());
        }
        self.single(&field.kind(), depth)
    }

    fn map_key(&mut self, kind: &Kind) -> MapKey {
        let value = self.single(kind, 0);
        let key = value.as_bool().map(MapKey::Bool).or_else(|| value.as_i32().map(MapKey::I32));
        key.or_else(|| value.as_str().map(|key| MapKey::String(key.to_owned()))).expect("a key of the schema")
    }

    fn single(&mut self, kind: &Kind, depth: u32) -> Value {
        match kind {
            Kind::Double => Value::F64(f64::from_bits(self.integer())),
            Kind::Float => Value::F32(f32::from_bits(self.integer() as u32)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.integer() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.integer() as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.integer() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.integer()),
            Kind::Bool => Value::Bool(self.below(2) == 1),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            // Numbers without a name are values too.
            Kind::Enum(plan) if plan.full_name() == "google.protobuf.NullValue" => Value::EnumNumber(0),
            Kind::Enum(_) => Value::EnumNumber(self.below(6) as i32 - 1),
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, depth.saturating_sub(1))),
        }
    }

    /// The types whose fields are bounded by more than their kinds.
    fn well_known(&mut self, descriptor: &MessageDescriptor, depth: u32) -> Option<DynamicMessage> {
        let mut message = DynamicMessage::new(descriptor.clone());
        let nanos = [0, 5_000_000, 5_000, 5, 999_999_999][self.below(5) as usize];
        match descriptor.full_name().strip_prefix("google.protobuf.")? {
            "Timestamp" => {
                let seconds = self.below(315_537_897_600) as i64 - 62_135_596_800;
                message.set_field_by_name("seconds", Value::I64(seconds));
                message.set_field_by_name("nanos", Value::I32(nanos));
            }
            "Duration" => {
                let sign = if self.below(2) == 0 { 1 } else { -1 };
                message.set_field_by_name(
                    "seconds",
                    Value::I64(i64::from(sign) * self.below(315_576_000_000) as i64),
                );
                message.set_field_by_name("nanos", Value::I32(sign * nanos));
            }
            "FieldMask" => {
                let paths = ["a", "foo_bar.baz", "a1.b_c_d"].map(|path| Value::String(path.into()));
                message.set_field_by_name("paths", Value::List(paths[..self.below(4) as usize].to_vec()));
            }
            "Struct" => return Some(json_message(descriptor, self.json_object(depth))),
            "ListValue" => return Some(json_message(descriptor, self.json_list(depth))),
            "Value" => return Some(json_message(descriptor, self.json(depth))),
            // The reference prints a wrapped NaN as null.
            "DoubleValue" => message.set_field_by_name("value", Value::F64(self.integer() as f64 / 8.0)),
            "FloatValue" => message.set_field_by_name("value", Value::F32(self.integer() as f32 / 8.0)),
            "Any" => {
                let inner = ["edgeconf.v1.Leaf", "google.protobuf.Duration", "google.protobuf.Struct"];
                let inner = descriptor.parent_pool().get_message_by_name(inner[self.below(3) as usize])?;
                let value = self.message(&inner, 1);
                let url = format!("type.googleapis.com/{}", inner.full_name());
                message.set_field_by_name("type_url", Value::String(url));
                message.set_field_by_name("value", Value::Bytes(value.encode_to_vec().into()));
            }
            _ => return None,
        }
        Some(message)
    }

    fn json(&mut self, depth: u32) -> serde_json::Value {
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => serde_json::Value::Null,
            1 => (self.below(2) == 0).into(),
            2 => (self.integer() as f64 / 8.0).into(),
            3 => self.text().into(),
            4 => self.json_list(depth - 1),
            _ => self.json_object(depth - 1),
        }
    }

    fn json_list(&mut self, depth: u32) -> serde_json::Value {
        (0..self.below(4)).map(|_| self.json(depth)).collect()
    }

    fn json_object(&mut self, depth: u32) -> serde_json::Value {
        serde_json::Value::Object((0..self.below(4)).map(|_| (self.text(), self.json(depth))).collect())
    }
}

fn json_message(descriptor: &MessageDescriptor, json: serde_json::Value) -> DynamicMessage {
    DynamicMessage::deserialize(descriptor.clone(), json).unwrap()
}

/// How many fields a message sets and the seed that chooses them: what a failing case prints.
fn choice() -> impl Strategy<Value = (usize, u64)> {
    (0..12usize, any::<u64>())
}

fn random_message((fields, state): (usize, u64)) -> DynamicMessage {
    Chooser { state, fields }.message(&everything(), 3)
}

/// As a JSON value, so that NaN equals itself and maps have no order; by way of text, because both sides of a comparison must
/// go through the same reader of numbers.
fn reference(message: &DynamicMessage) -> serde_json::Value {
    serde_json::from_slice(&serde_json::to_vec(message).unwrap()).unwrap()
}

fn printed(message: &DynamicMessage) -> Vec<u8> {
    let found = contract().route(&http::Method::POST, "/v1/e").unwrap();
    let mut json = Vec::new();
    found.binding.decode_response(&message.encode_to_vec(), &mut json).unwrap();
    json
}

fn read(json: &[u8]) -> Result<DynamicMessage, String> {
    let found = contract().route(&http::Method::POST, "/v1/e").unwrap();
    let mut wire = Vec::new();
    let verdict = found.binding.encode_request(&support::rest(&Variables::default(), None, json), &mut wire);
    verdict.map_err(|error| format!("{error:?}"))?;
    Ok(DynamicMessage::decode(everything(), wire.as_slice()).expect("what is accepted is well formed"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_survive_and_print_as_prost_reflect_prints(choice in choice()) {
        let message = random_message(choice);
        let json = printed(&message);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&value, &reference(&message));
        prop_assert_eq!(read(&json).map(|back| reference(&back)), Ok(reference(&message)));
        let theirs = serde_json::to_vec_pretty(&message).unwrap();
        prop_assert_eq!(read(&theirs).map(|back| reference(&back)), Ok(reference(&message)));
    }

    #[test]
    fn random_bytes_are_refused_or_printed_as_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let found = contract().route(&http::Method::POST, "/v1/e").unwrap();
        let mut json = Vec::new();
        if found.binding.decode_response(&bytes, &mut json).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }

    #[test]
    fn damaged_json_is_refused_or_read(choice in choice(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = printed(&random_message(choice));
        let place = at.index(json.len());
        json[place] = byte;
        if read(&json).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }

    #[test]
    fn random_paths_and_queries_never_panic(path in "/[ -~]{0,60}", query in "[ -~é]{0,60}") {
        let _ = contract().route(&http::Method::GET, &path);
        let found = contract().route(&http::Method::GET, "/v1/e").unwrap();
        let none = Variables::default();
        let _ = found.binding.encode_request(&support::rest(&none, Some(&query), b""), &mut Vec::new());
    }
}
