//! The types whose JSON is not an object of their fields: scalars and the well-known types of protobuf. Those whose form surprises
//! come with an example.

use prost_reflect::Kind;
use serde_json::{Value, json};

/// How a type stands in JSON when it is not an object of its fields.
pub(super) fn message(full_name: &str) -> Option<Value> {
    Some(match full_name {
        "google.protobuf.Timestamp" => {
            json!({"type": "string", "format": "date-time", "examples": ["2026-11-25T09:30:00Z"]})
        }
        "google.protobuf.Duration" => {
            json!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["3.5s"]})
        }
        "google.protobuf.FieldMask" => {
            json!({"type": "string", "description": "Field names, separated by commas."})
        }
        "google.protobuf.Struct" => json!({"type": "object", "additionalProperties": true}),
        "google.protobuf.Value" => json!({"description": "Any JSON value."}),
        "google.protobuf.ListValue" => json!({"type": "array", "items": {}}),
        "google.protobuf.Any" => any(),
        "google.protobuf.DoubleValue" => scalar(&Kind::Double)?,
        "google.protobuf.FloatValue" => scalar(&Kind::Float)?,
        "google.protobuf.Int64Value" => scalar(&Kind::Int64)?,
        "google.protobuf.UInt64Value" => scalar(&Kind::Uint64)?,
        "google.protobuf.Int32Value" => scalar(&Kind::Int32)?,
        "google.protobuf.UInt32Value" => scalar(&Kind::Uint32)?,
        "google.protobuf.BoolValue" => scalar(&Kind::Bool)?,
        "google.protobuf.StringValue" => scalar(&Kind::String)?,
        "google.protobuf.BytesValue" => scalar(&Kind::Bytes)?,
        _ => return None,
    })
}

/// An object that names its own type.
pub(super) fn any() -> Value {
    json!({
        "type": "object",
        "properties": {
            "@type": {"type": "string", "description": "`type.googleapis.com/` and the full name of the type."},
        },
        "required": ["@type"],
        "additionalProperties": true,
    })
}

/// A scalar in a JSON body. Integers of 64 bits are strings, because a JSON number loses some of them in a browser.
pub(super) fn scalar(kind: &Kind) -> Option<Value> {
    Some(match kind {
        Kind::Double => float("double"),
        Kind::Float => float("float"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$", "examples": ["4250"]})
        }
        Kind::Uint64 | Kind::Fixed64 => {
            json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$", "examples": ["4250"]})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Message(_) | Kind::Enum(_) => return None,
    })
}

fn float(format: &str) -> Value {
    json!({"anyOf": [
        {"type": "number", "format": format},
        {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]},
    ]})
}
