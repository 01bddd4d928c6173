//! What a case expects, held against what the service received and the client was answered.

use std::time::Duration;

use edge::transcode;
use http::HeaderMap;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};

use super::upstream::Call;
use crate::cases::{generate, same};
use crate::client::Reply;

/// What the service must have received.
pub fn received(
    case: &Value,
    expect: &Value,
    method: &MethodDescriptor,
    calls: &[Call],
) -> Result<(), String> {
    let scripted =
        case.as_object().unwrap().keys().any(|key| key.starts_with("grpc_response") || key == "grpc_status");
    let refused = case["kind"] == "error" || expect["http_status"].as_u64().is_some_and(|s| s >= 400);
    if refused && !scripted {
        return same("calls", &calls.len(), &0);
    }
    let call = calls.first().ok_or("the service was not called")?;
    same("calls", &calls.len(), &1)?;
    let expected: Option<Vec<Value>> = match expect.as_object().unwrap() {
        map if map.contains_key("grpc_request") => Some(vec![map["grpc_request"].clone()]),
        map if map.contains_key("grpc_requests") => map["grpc_requests"].as_array().cloned(),
        map if map.contains_key("grpc_request_gen") => {
            Some(vec![serde_json::from_slice(&generate(&map["grpc_request_gen"])).unwrap()])
        }
        _ => None,
    };
    if let Some(expected) = expected {
        let input = method.input();
        let got: Vec<Value> = call
            .messages
            .iter()
            .map(|bytes| Ok(json_of(&decode(&input, bytes)?, case)))
            .collect::<Result<_, String>>()?;
        let expected: Vec<Value> = expected
            .iter()
            .map(|json| Ok(json_of(&parse(&input, json)?, case)))
            .collect::<Result<_, String>>()?;
        same("messages", &got, &expected)?;
    }
    metadata(expect, &call.headers)
}

fn metadata(expect: &Value, headers: &HeaderMap) -> Result<(), String> {
    for (name, values) in expect["grpc_metadata"].as_object().into_iter().flatten() {
        let expected = values[0].as_str().unwrap();
        let got = headers.get(name).ok_or_else(|| format!("{name} is missing"))?;
        if let Some(most) = expected.strip_prefix("<= ") {
            let got = got.to_str().unwrap();
            if timeout(got) > timeout(most) {
                return Err(format!("{name} is {got}, expected at most {most}"));
            }
        } else if let Some(hex) = expected.strip_prefix("(bytes ").and_then(|rest| rest.strip_suffix(')')) {
            let bytes: Vec<u8> = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            same(name, &transcode::decode_bin(got.as_bytes()), &Some(bytes))?;
        } else {
            same(name, &got.to_str().unwrap(), &expected)?;
        }
    }
    for name in expect["grpc_metadata_absent"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if headers.contains_key(name) {
            return Err(format!("{name} reached the service"));
        }
    }
    Ok(())
}

fn timeout(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap();
    match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        other => panic!("unknown unit {other}"),
    }
}

/// What the client must have been answered.
pub fn answered(case: &Value, expect: &Value, reply: &Reply) -> Result<(), String> {
    let text = || String::from_utf8_lossy(reply.body.as_deref().unwrap_or_default()).into_owned();
    if let Some(status) = expect["http_status"].as_u64() {
        same("status", &u64::from(reply.status.as_u16()), &status)
            .map_err(|error| format!("{error}: {}", text()))?;
    }
    for (name, value) in expect["headers"].as_object().into_iter().flatten() {
        let got = reply.header(name).split(';').next().unwrap_or_default();
        same(name, &got, &value.as_str().unwrap())?;
    }
    let body = reply.body.as_ref().map_err(|error| format!("the body was cut: {error}"))?;
    if let Some(expected) = expect.get("body_json") {
        let got: Value = serde_json::from_slice(body).map_err(|error| format!("{error}: {}", text()))?;
        let failed = expect["http_status"].as_u64().is_some_and(|status| status >= 400);
        let expected = if failed { nested(reply, expected) } else { expected.clone() };
        return if fits(&got, &expected) {
            Ok(())
        } else {
            Err(format!("body is {got}, expected {expected}"))
        };
    }
    let Some(expected) = expect["body"].as_str() else { return Ok(()) };
    match case["config"]["framing"].as_str() {
        Some("ndjson") => {
            same("end of the body", &text().ends_with('\n'), &expected.ends_with('\n'))?;
            same("lines", &lines(&text())?, &lines(expected)?)
        }
        Some("json_array") => same("body", &json_text(&text())?, &json_text(expected)?),
        _ if expected.starts_with('[') => same("body", &json_text(&text())?, &json_text(expected)?),
        _ => same("body", &text().as_str(), &expected),
    }
}

/// A flat status of a case in our words.
fn nested(reply: &Reply, flat: &Value) -> Value {
    let code = u32::try_from(flat["code"].as_u64().unwrap()).unwrap();
    let details = flat.get("details").cloned().unwrap_or_else(|| json!("any"));
    json!({ "error": {
        "code": reply.status.as_u16(), "status": transcode::code_name(code),
        "message": flat["message"], "details": details } })
}

/// Whether a value is the expected one. `*` stands for any text, details that the case does not name for any of ours.
fn fits(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::String(got), Value::String(any)) if any == "*" => !got.is_empty(),
        (Value::Array(_), Value::String(any)) if any == "any" => true,
        (Value::Object(got), Value::Object(expected)) => {
            got.len() == expected.len()
                && expected.iter().all(|(key, expected)| got.get(key).is_some_and(|got| fits(got, expected)))
        }
        _ => got == expected,
    }
}

fn lines(text: &str) -> Result<Vec<Value>, String> {
    text.lines().map(json_text).collect()
}

fn json_text(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

pub fn decode(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<DynamicMessage, String> {
    DynamicMessage::decode(descriptor.clone(), bytes).map_err(|error| error.to_string())
}

pub fn parse(descriptor: &MessageDescriptor, json: &Value) -> Result<DynamicMessage, String> {
    DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| error.to_string())
}

/// A message as JSON, so that NaN equals itself; presence is kept, and the paths of a mask are a set where the case says so.
pub fn json_of(message: &DynamicMessage, case: &Value) -> Value {
    let mut json = serde_json::to_value(message).unwrap();
    if case["config"]["mask_compare"] == "as a set" {
        let mut paths: Vec<String> =
            json["updateMask"].as_str().unwrap_or_default().split(',').map(str::to_owned).collect();
        paths.sort();
        json["updateMask"] = json!(paths);
    }
    json
}
