//! The conformance cases, called directly: routing, request messages, response bodies, refusals and error bodies. Cases about
//! headers, limits, framing and what an upstream may do wrong need a data path; they are listed and counted, so that none is
//! skipped in silence. `tests/serve/conformance` sends those and every other call through the edge.

use std::collections::BTreeMap;

use edge::contract::{Contract, HttpRule, RestOptions};
use edge::route::{self, Refusal, Template, Unescape};
use edge::transcode::{self, Failed, RequestError, RestRequest};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};

use super::support;
use crate::cases::{self, body_of, expectation, generate, path_of, same};

/// Cases of which nothing can be seen without listeners and an upstream.
const DATA_PATH: &[&str] = &[
    // Headers and metadata.
    "RQ-129", "RQ-130", "RQ-133", "RQ-134", "RQ-136", "RQ-138", "RQ-140", "RQ-141", "RQ-142",
    // Limits and broken upstreams.
    "RQ-150", "RS-031", "RS-032", "RS-036", "ER-025", // HEAD without a body.
    "RS-029", "ER-032", // Framing of streams, and the compatibility switch of grpc-gateway.
    "ST-005", "ST-007", "ST-009", "ST-011", "ST-018", "ST-020", "ST-021",
    // JSON client streams are split by the data path.
    "ST-023", "ST-025", "ST-026", "ST-028", "ST-029", "ST-032",
];

#[test]
fn every_case_without_a_data_path_passes() {
    let mut failures = Vec::new();
    let mut passed = 0;
    for case in cases::cases() {
        let id = case["id"].as_str().unwrap();
        if DATA_PATH.contains(&id) {
            continue;
        }
        match run(&case) {
            Ok(()) => passed += 1,
            Err(difference) => failures.push(format!("{id}: {difference}")),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        passed + failures.len(),
        failures.join("\n")
    );
    assert_eq!(passed + DATA_PATH.len(), 177);
}

fn run(case: &Value) -> Result<(), String> {
    let expect = expectation(case);
    if let Some(templates) = case["templates"].as_array() {
        return templates.iter().try_for_each(|template| check_template(template.as_str().unwrap(), &expect));
    }
    if case.get("routes").is_some() {
        return check_route(case, &expect);
    }
    check_call(case, &expect)
}

fn check_template(text: &str, expect: &Value) -> Result<(), String> {
    let parsed = Template::parse(text);
    if !expect["template_valid"].as_bool().unwrap() {
        return if parsed.is_err() { Ok(()) } else { Err(format!("{text} is accepted")) };
    }
    let template = parsed.map_err(|error| format!("{text}: {error}"))?;
    let decoded = |text: &str| route::decode_component(text, false).unwrap().into_owned();
    let segments: Vec<String> = template
        .segments()
        .iter()
        .map(|segment| match segment {
            route::Segment::Literal(text) => String::from_utf8(text.clone()).unwrap(),
            route::Segment::Any => "*".to_owned(),
            route::Segment::Deep => "**".to_owned(),
        })
        .collect();
    let expected: Vec<String> = expect["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| decoded(segment.as_str().unwrap()))
        .collect();
    same("segments", &segments, &expected)?;
    let verb = template.verb().map(|verb| String::from_utf8(verb.to_vec()).unwrap()).unwrap_or_default();
    same("verb", &verb, &decoded(expect["verb"].as_str().unwrap()))?;
    let deep = template.segments().contains(&route::Segment::Deep);
    let variables: Vec<Value> = template
        .variables()
        .iter()
        .map(|variable| {
            let end = variable.end as i64;
            let from_end = end - template.segments().len() as i64 - 1;
            json!([variable.field, variable.start, if deep { from_end } else { end }])
        })
        .collect();
    same("vars", &Value::from(variables), &expect["vars"])
}

fn check_route(case: &Value, expect: &Value) -> Result<(), String> {
    let routes = case["routes"].as_array().unwrap();
    let rules = routes.iter().map(|route| rule_of(&route["method"], &route["template"])).collect();
    let contract = build(case, vec![("edgeconf.v1.Conformance/Unary", rules)])?;
    let path = path_of(&case["http"]);
    let method = http::Method::from_bytes(case["http"]["method"].as_str().unwrap().as_bytes()).unwrap();
    let matched = match contract.route(&method, &path) {
        Ok(matched) => matched,
        Err(refusal) if expect["route"].is_null() => {
            let is_wrong_verb = case["id"] == "PM-087";
            let allow = Refusal::MethodNotAllowed { allow: "GET, HEAD, OPTIONS".to_owned() };
            return if !is_wrong_verb || refusal == allow {
                Ok(())
            } else {
                Err(format!("refused as {refusal:?}"))
            };
        }
        Err(refusal) => return Err(format!("no route: {refusal:?}")),
    };
    let id = routes
        .iter()
        .find(|route| route["template"] == **matched.binding.template())
        .map(|route| &route["id"]);
    same("route", &id, &expect["route"].as_str().map(|_| &expect["route"]))?;
    let mut out = Vec::new();
    let request = RestRequest {
        query: case["http"]["query"].as_str().filter(|query| !query.is_empty()),
        ..support::rest(&matched.variables, None, b"")
    };
    matched.binding.encode_request(&request, &mut out).map_err(|error| format!("{error:?}"))?;
    let message = decode(&message("edgeconf.v1.Everything"), &out)?;
    let bound: BTreeMap<String, Value> = ["s_val", "opt_str"]
        .into_iter()
        .filter(|name| message.has_field_by_name(name))
        .map(|name| (name.to_owned(), message.get_field_by_name(name).unwrap().as_str().unwrap().into()))
        .collect();
    same("vars", &json!(bound), &expect["vars"])
}

fn check_call(case: &Value, expect: &Value) -> Result<(), String> {
    let rpc = case["rpc"].as_str().unwrap();
    let rules = match case["rule"].get("auto") {
        Some(_) => vec![],
        None => vec![(rpc, vec![serde_json::from_value(case["rule"].clone()).unwrap()])],
    };
    let contract = build(case, rules)?;
    let http = &case["http"];
    let path = path_of(http);
    let method = http::Method::from_bytes(http["method"].as_str().unwrap().as_bytes()).unwrap();
    let status = expect["http_status"].as_u64();
    let matched = match contract.route(&method, &path) {
        Ok(matched) => matched,
        Err(Refusal::MethodNotAllowed { .. }) => return same("status", &Some(405), &status),
        Err(refusal) => return Err(format!("no route: {refusal:?}")),
    };
    let body = body_of(http);
    let content_type = http["headers"].as_object().and_then(|headers| headers.get("content-type"));
    let request = RestRequest {
        query: http["query"].as_str().filter(|query| !query.is_empty()),
        content_type: content_type.and_then(Value::as_str),
        ..support::rest(&matched.variables, None, &body)
    };
    let mut out = Vec::new();
    match matched.binding.encode_request(&request, &mut out) {
        Ok(()) => {}
        Err(RequestError::UnsupportedMediaType) => return same("status", &Some(415), &status),
        Err(error) if status == Some(400) => {
            // A refusal says what it refuses.
            return if format!("{error:?}").len() > 10 { Ok(()) } else { Err("says nothing".to_owned()) };
        }
        Err(error) => return Err(format!("refused: {error:?}")),
    }
    let descriptor = method_descriptor(rpc);
    let expected_message = match (expect.get("grpc_request"), expect.get("grpc_request_gen")) {
        (Some(expected), _) => Some(expected.clone()),
        (_, Some(generated)) => Some(serde_json::from_slice(&generate(generated)).unwrap()),
        _ => None,
    };
    if let Some(expected) = expected_message {
        let got = decode(&descriptor.input(), &out)?;
        return same(
            "message",
            &json_of(&got, case),
            &json_of(&parse(&descriptor.input(), &expected)?, case),
        );
    }
    if case["kind"] == "error" && case.get("grpc_status").is_none() {
        return Err(format!("accepted as {}", decode(&descriptor.input(), &out)?));
    }
    if let Some(failed) = case.get("grpc_status").filter(|status| status["code"] != 0) {
        return check_error(failed, &matched, expect);
    }
    check_response(case, &descriptor, &matched, expect)
}

fn check_error(failed: &Value, matched: &edge::contract::Match<'_>, expect: &Value) -> Result<(), String> {
    let code = failed["code"].as_u64().unwrap() as u32;
    same("status", &Some(u64::from(transcode::http_status_of(code))), &expect["http_status"].as_u64())?;
    let mut details = Vec::new();
    for detail in failed["details"].as_array().into_iter().flatten() {
        let any = parse(&message("google.protobuf.Any"), detail)?.encode_to_vec();
        prost_reflect::prost::encoding::bytes::encode(3, &any, &mut details);
    }
    let mut out = Vec::new();
    let failed = Failed {
        http_status: transcode::http_status_of(code),
        grpc_code: code,
        message: failed["message"].as_str().unwrap(),
        details: Some(&details),
    };
    transcode::status_json(&failed, Some(matched.binding.types()), &mut out);
    let got: Value = serde_json::from_slice(&out).map_err(|error| error.to_string())?;
    if let Some(flat) = expect.get("body_json") {
        let expected = json!({ "error": {
            "code": failed.http_status, "status": transcode::code_name(code), "message": flat["message"],
            "details": flat.get("details").cloned().unwrap_or_else(|| json!([])) } });
        return same("body", &got, &expected);
    }
    Ok(())
}

fn check_response(
    case: &Value,
    descriptor: &MethodDescriptor,
    matched: &edge::contract::Match<'_>,
    expect: &Value,
) -> Result<(), String> {
    if let Some(raw) = case["grpc_response_raw"].as_str() {
        let bytes: Vec<u8> =
            (0..raw.len()).step_by(2).map(|at| u8::from_str_radix(&raw[at..at + 2], 16).unwrap()).collect();
        let failed = matched.binding.decode_response(&bytes, &mut Vec::new()).is_err();
        let failed = failed
            && (!matched.binding.response_is_http_body() || matched.binding.http_body(&bytes).is_err());
        return if failed { Ok(()) } else { Err("a broken message is accepted".to_owned()) };
    }
    if let Some(responses) = case["grpc_responses"].as_array() {
        let expected: Vec<Value> = serde_json::from_str(expect["body"].as_str().unwrap()).unwrap();
        let got: Vec<Value> = responses
            .iter()
            .map(|response| printed(matched, &parse(&descriptor.output(), response)?))
            .collect::<Result<_, _>>()?;
        return same("messages", &got, &expected);
    }
    if case["grpc_response"] == "@gen" {
        for size in case["config"]["sizes"].as_array().unwrap() {
            let mut generator = case["config"].clone();
            generator["bytes"] = size.clone();
            let expected: Value = serde_json::from_slice(&generate(&generator)).unwrap();
            same("body", &printed(matched, &parse(&descriptor.output(), &expected)?)?, &expected)?;
        }
        return Ok(());
    }
    let response_type = case["grpc_response_type"].as_str().map_or_else(|| descriptor.output(), message);
    let scripted = case.get("grpc_response").or(case["config"].get("with_message"));
    let response = parse(&response_type, scripted.unwrap_or(&json!({})))?;
    if matched.binding.response_is_http_body() {
        let bytes = response.encode_to_vec();
        let body = matched.binding.http_body(&bytes).map_err(|error| error.to_string())?;
        same("content-type", &Some(body.content_type), &expect["headers"]["content-type"].as_str())?;
        return same("body", &body.data, &expect["body"].as_str().unwrap().as_bytes());
    }
    let expected = expect.get("body_json").cloned().unwrap_or_else(|| json!({ "sVal": "x" }));
    same("body", &printed(matched, &response)?, &expected)
}

fn printed(matched: &edge::contract::Match<'_>, message: &DynamicMessage) -> Result<Value, String> {
    let mut out = Vec::new();
    matched.binding.decode_response(&message.encode_to_vec(), &mut out).map_err(|error| error.to_string())?;
    serde_json::from_slice(&out).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&out)))
}

/// The contract of a case, its switches set.
fn build(case: &Value, rules: Vec<(&str, Vec<HttpRule>)>) -> Result<Contract, String> {
    let config = &case["config"];
    let unescape = match config["unescape"].as_str() {
        None | Some("except_reserved") => Unescape::ExceptReserved,
        Some("except_slash") => Unescape::ExceptSlash,
        Some("all") => Unescape::All,
        Some(other) => return Err(format!("unknown switch {other}")),
    };
    let routing = route::Options {
        unescape,
        match_unregistered_verb: config["match_unregistered_verb"] == true,
        ..route::Options::default()
    };
    let ignored = config["ignored_query_params"].as_array();
    let transcoding = transcode::Options {
        case_insensitive_enums: config["case_insensitive_enums"] == true,
        ignore_unknown_query: config["unknown_query"] == "ignore",
        ignored_query: ignored.into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect(),
        ..transcode::Options::default()
    };
    let rest = RestOptions {
        print_defaults: Some(config["emit_defaults"] == true),
        update_mask_from_body: config["auto_field_mask"] == true,
        ..RestOptions::default()
    };
    support::contract(rules, config["auto_mapping"] == true, &routing, &transcoding, |method| {
        method.rest = Some(rest.clone());
    })
    .map_err(|error| error.to_string())
}

fn rule_of(method: &Value, template: &Value) -> HttpRule {
    let template = Some(template.as_str().unwrap().to_owned());
    match method.as_str().unwrap() {
        "GET" => HttpRule { get: template, ..HttpRule::default() },
        "POST" => HttpRule { post: template, ..HttpRule::default() },
        other => panic!("no such method in the cases: {other}"),
    }
}

fn message(name: &str) -> MessageDescriptor {
    support::pool().get_message_by_name(name).unwrap()
}

fn method_descriptor(rpc: &str) -> MethodDescriptor {
    let (service, name) = rpc.split_once('/').unwrap();
    support::pool()
        .get_service_by_name(service)
        .unwrap()
        .methods()
        .find(|method| method.name() == name)
        .unwrap()
}

fn decode(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<DynamicMessage, String> {
    DynamicMessage::decode(descriptor.clone(), bytes).map_err(|error| error.to_string())
}

fn parse(descriptor: &MessageDescriptor, json: &Value) -> Result<DynamicMessage, String> {
    DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| error.to_string())
}

/// A message as JSON, so that NaN equals itself; presence is kept, and the paths of a mask are a set where the case says so.
fn json_of(message: &DynamicMessage, case: &Value) -> Value {
    let mut json = serde_json::to_value(message).unwrap();
    if case["config"]["mask_compare"] == "as a set" {
        let mut paths: Vec<String> =
            json["updateMask"].as_str().unwrap_or_default().split(',').map(str::to_owned).collect();
        paths.sort();
        json["updateMask"] = json!(paths);
    }
    json
}
