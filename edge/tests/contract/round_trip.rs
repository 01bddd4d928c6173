//! Random messages of every type in `conformance.proto`: what we print is what prost-reflect's serde prints, and reading it
//! back gives the message again. Random bytes break nothing.

use edge::contract::{Contract, HttpRule};
use edge::route::{self, Variables};
use edge::transcode;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};

use super::support;

/// Where messages stop growing.
const DEPTH: u32 = 3;

fn contract() -> Contract {
    let rule = HttpRule { post: Some("/v1/e".into()), body: "*".into(), ..HttpRule::default() };
    support::contract(
        vec![("edgeconf.v1.Conformance/Unary", vec![rule])],
        false,
        &route::Options::default(),
        &transcode::Options::default(),
        |_| {},
    )
    .unwrap()
}

fn everything() -> MessageDescriptor {
    support::pool().get_message_by_name("edgeconf.v1.Everything").unwrap()
}

/// Any message of a type, sparse so that it ends.
fn message(descriptor: MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    if let Some(strategy) = well_known(&descriptor, depth) {
        return strategy;
    }
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    // The biggest message recurses in many fields: a handful of them at a time keeps it small.
    let count = if depth == 0 { 0..=2 } else { 0..=6 };
    let chosen =
        proptest::sample::subsequence(fields.clone(), *count.start()..=(*count.end()).min(fields.len()));
    chosen
        .prop_flat_map(move |fields| {
            fields.into_iter().map(|field| field_value(field, depth)).collect::<Vec<_>>()
        })
        .prop_map(move |values| {
            let mut message = DynamicMessage::new(descriptor.clone());
            for (field, value) in values {
                if let Some(value) = value {
                    message.set_field(&field, value);
                }
            }
            message
        })
        .boxed()
}

fn field_value(field: FieldDescriptor, depth: u32) -> BoxedStrategy<(FieldDescriptor, Option<Value>)> {
    let kind = field.kind();
    if matches!(&kind, Kind::Message(inner) if depth == 0 && well_known(inner, 0).is_none() && !field.is_map())
    {
        return Just((field, None)).boxed();
    }
    let value = if field.is_map() {
        let Kind::Message(entry) = kind else { unreachable!() };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let depth = depth.saturating_sub(1);
        let entries = proptest::collection::vec((scalar(key.kind()), single(value.kind(), depth)), 0..3);
        entries
            .prop_map(|entries| {
                Value::Map(entries.into_iter().map(|(key, value)| (map_key(key), value)).collect())
            })
            .boxed()
    } else if field.is_list() {
        proptest::collection::vec(single(kind, depth.saturating_sub(1)), 0..4).prop_map(Value::List).boxed()
    } else {
        single(kind, depth.saturating_sub(1))
    };
    value.prop_map(move |value| (field.clone(), Some(value))).boxed()
}

fn map_key(value: Value) -> MapKey {
    match value {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::String(key) => MapKey::String(key),
        other => unreachable!("no such key in the schema: {other:?}"),
    }
}

fn single(kind: Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Message(descriptor) => message(descriptor, depth).prop_map(Value::Message).boxed(),
        kind => scalar(kind),
    }
}

fn scalar(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Double => any::<f64>().prop_map(Value::F64).boxed(),
        Kind::Float => any::<f32>().prop_map(Value::F32).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => text().prop_map(Value::String).boxed(),
        Kind::Bytes => proptest::collection::vec(any::<u8>(), 0..200)
            .prop_map(|bytes| Value::Bytes(bytes.into()))
            .boxed(),
        Kind::Enum(descriptor) => {
            let null = descriptor.full_name() == "google.protobuf.NullValue";
            // Numbers without a name are values too.
            (0..if null { 1 } else { 6 }).prop_map(Value::EnumNumber).boxed()
        }
        Kind::Message(_) => unreachable!("a message is no scalar"),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,20}", "[\\x00-\\x7f]{0,12}", "[a-z]{100,200}"]
}

/// The types whose fields are bounded by more than their kinds.
fn well_known(descriptor: &MessageDescriptor, depth: u32) -> Option<BoxedStrategy<DynamicMessage>> {
    let descriptor = descriptor.clone();
    let fill = move |fields: Vec<(&str, Value)>| {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (name, value) in fields {
            message.set_field_by_name(name, value);
        }
        message
    };
    let name = fill(vec![]).descriptor().full_name().to_owned();
    let strategy = match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => (-62_135_596_800..=253_402_300_799i64, 0..1_000_000_000i32)
            .prop_map(move |(seconds, nanos)| {
                fill(vec![("seconds", Value::I64(seconds)), ("nanos", Value::I32(nanos))])
            })
            .boxed(),
        "Duration" => (0..315_576_000_000i64, 0..1_000_000_000i32, any::<bool>())
            .prop_map(move |(seconds, nanos, negative)| {
                let sign = if negative { -1 } else { 1 };
                fill(vec![
                    ("seconds", Value::I64(seconds * i64::from(sign))),
                    ("nanos", Value::I32(nanos * sign)),
                ])
            })
            .boxed(),
        "FieldMask" => proptest::collection::vec("[a-z]{1,5}(_[a-z]{1,5}){0,2}(\\.[a-z]{1,5}){0,2}", 0..3)
            .prop_map(move |paths| {
                fill(vec![("paths", Value::List(paths.into_iter().map(Value::String).collect()))])
            })
            .boxed(),
        "Struct" | "ListValue" | "Value" => json(depth.min(2))
            .prop_filter_map("of another JSON type", move |json| {
                let descriptor = fill(vec![]).descriptor();
                DynamicMessage::deserialize(descriptor, json).ok()
            })
            .boxed(),
        "Any" => {
            let leaf = support::pool().get_message_by_name("edgeconf.v1.Leaf")?;
            message(leaf, 1)
                .prop_map(move |leaf| {
                    let url = Value::String("type.googleapis.com/edgeconf.v1.Leaf".into());
                    fill(vec![("type_url", url), ("value", Value::Bytes(leaf.encode_to_vec().into()))])
                })
                .boxed()
        }
        _ => return None,
    };
    Some(strategy)
}

fn json(depth: u32) -> BoxedStrategy<serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(depth, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::hash_map(text(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

/// As a JSON value, so that NaN equals itself and maps have no order.
fn reference(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_survive_and_print_as_prost_reflect_prints(message in message(everything(), DEPTH)) {
        let contract = contract();
        let found = contract.route(&http::Method::POST, "/v1/e").unwrap();
        let mut json = Vec::new();
        found.binding.decode_response(&message.encode_to_vec(), &mut json).unwrap();
        let printed: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&printed, &reference(&message));

        let mut wire = Vec::new();
        let none = Variables::default();
        found.binding.encode_request(&support::rest(&none, None, &json), &mut wire)
            .map_err(|error| TestCaseError::fail(format!("{error:?} in {}", String::from_utf8_lossy(&json))))?;
        let back = DynamicMessage::decode(everything(), wire.as_slice()).unwrap();
        prop_assert_eq!(reference(&back), reference(&message));
        // Both spellings and any layout of the same JSON read alike.
        let pretty = serde_json::to_vec_pretty(&printed).unwrap();
        let mut again = Vec::new();
        found.binding.encode_request(&support::rest(&none, None, &pretty), &mut again).unwrap();
        let again = DynamicMessage::decode(everything(), again.as_slice()).unwrap();
        prop_assert_eq!(reference(&again), reference(&message));
    }

    #[test]
    fn random_bytes_are_refused_or_printed_as_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let contract = contract();
        let found = contract.route(&http::Method::POST, "/v1/e").unwrap();
        let mut json = Vec::new();
        if found.binding.decode_response(&bytes, &mut json).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }

    #[test]
    fn damaged_json_is_refused_or_read(message in message(everything(), 2), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let contract = contract();
        let found = contract.route(&http::Method::POST, "/v1/e").unwrap();
        let mut json = Vec::new();
        found.binding.decode_response(&message.encode_to_vec(), &mut json).unwrap();
        let place = at.index(json.len());
        json[place] = byte;
        let none = Variables::default();
        let mut wire = Vec::new();
        if found.binding.encode_request(&support::rest(&none, None, &json), &mut wire).is_ok() {
            prop_assert!(DynamicMessage::decode(everything(), wire.as_slice()).is_ok());
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }

    #[test]
    fn random_paths_and_queries_never_panic(path in "/[ -~]{0,60}", query in "[ -~]{0,60}") {
        let contract = contract();
        let _ = contract.route(&http::Method::GET, &path);
        let found = contract.route(&http::Method::POST, "/v1/e").unwrap();
        let none = Variables::default();
        let _ = found.binding.encode_request(&support::rest(&none, Some(&query), b""), &mut Vec::new());
    }
}
