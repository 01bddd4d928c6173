//! The conformance cases as their users would see them: each through an edge of its own, over HTTP, to a service that plays the
//! case's script. The cases that are about nothing but templates and routes are called directly in `tests/contract`.

mod expect;
mod upstream;

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use edge::contract::{HttpRule, MethodOverride, Overrides, RestOptions, ServiceOverride};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};

use self::upstream::{Script, Upstream};
use crate::cases::{self, body_of, expectation, generate, path_of};
use crate::client::{Http, Reply, Rest};
use crate::world::World;

/// How many cases run at once: most of the time of one is spent waiting.
const AT_ONCE: usize = 8;
const SERVICE: &str = "edgeconf.v1.Conformance";
/// Cases about grpc-gateway's own names for headers.
const GATEWAY_NAMES: [&str; 2] = ["RQ-130", "RQ-134"];
/// Cases whose budget is so small that it may be spent before the service is called.
const SPENT: [&str; 2] = ["RQ-140", "RQ-141"];
/// The least that a limit may be set to: a case with a lower one is sent as much larger.
const LIMIT_MIN: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_cases_passes_through_the_edge() {
    let calls =
        cases::cases().into_iter().filter(|case| case.get("rpc").is_some() && case.get("routes").is_none());
    let runs = stream::iter(calls.flat_map(|case| variants(&case))).map(async |case| {
        let difference = run(&case).await.err()?;
        Some(format!("{}: {difference}", case["id"]))
    });
    let results: Vec<Option<String>> = runs.buffer_unordered(AT_ONCE).collect().await;
    let passed = results.iter().filter(|result| result.is_none()).count();
    let failures: Vec<String> = results.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{} fail, {passed} pass:\n{}", failures.len(), failures.join("\n"));
    // One of the 119 in 14 sizes and 3 codings, one with a switch and without.
    assert_eq!(passed, 119 + 13 + 3 + 1);
}

/// A case with sizes is one for each of them; where our rule differs only without a switch, both are checked.
fn variants(case: &Value) -> Vec<Value> {
    if case["grpc_response"] == "@gen" {
        let sized = |size: &Value| {
            let mut generator = case["config"].clone();
            generator["bytes"] = size.clone();
            let message: Value = serde_json::from_slice(&generate(&generator)).unwrap();
            let mut case = case.clone();
            case["grpc_response"] = message.clone();
            case["expect"]["body_json"] = message;
            case
        };
        let sizes = case["config"]["sizes"].as_array().unwrap();
        // The largest also as services send it that compress without being asked.
        let largest = sized(sizes.last().unwrap());
        let coded = ["gzip", "deflate", "zstd"].map(|coding| {
            let mut case = largest.clone();
            case["config"]["upstream_grpc_encoding"] = coding.into();
            case
        });
        return sizes.iter().map(sized).chain(coded).collect();
    }
    if case["id"] == "ST-005" {
        let mut plain = case.clone();
        plain["config"]["compat"] = Value::Null;
        plain["expect"] = json!({ "http_status": 200, "headers": { "content-type": "application/x-ndjson" },
            "body": "{\"label\":\"One\"}\n{\"label\":\"Two\"}\n" });
        return vec![case.clone(), plain];
    }
    vec![case.clone()]
}

async fn run(case: &Value) -> Result<(), String> {
    let expect = expectation(case);
    let method = method(case["rpc"].as_str().unwrap());
    let upstream = Upstream::start(script(case, &method)?).await;
    let directory = tempfile::tempdir().unwrap();
    let set = directory.path().join("conformance.binpb");
    std::fs::write(&set, schema()).unwrap();
    let world = World::with(|config| {
        let config = config.replace("message_bytes_max = 65536", &limit(case));
        let address = upstream.address;
        format!(
            "{config}\n{}\n[[descriptor_set]]\npath = \"{}\"\nupstream = \"case\"\n\
             [[upstream]]\nname = \"case\"\naddresses = [\"{address}\"]\ntls = \"off\"\nhealth = false\n",
            tables(case),
            set.display(),
        )
    })
    .await;
    let reply = send(&world, case).await;
    if SPENT.contains(&case["id"].as_str().unwrap()) && reply.status == StatusCode::GATEWAY_TIMEOUT {
        return Ok(());
    }
    expect::answered(case, &expect, &reply)?;
    expect::received(case, &expect, &method, &upstream.calls())
}

async fn send(world: &World, case: &Value) -> Reply {
    let http = &case["http"];
    let mut path = path_of(http);
    if let Some(query) = http["query"].as_str().filter(|query| !query.is_empty()) {
        path = format!("{path}?{query}");
    }
    let headers = http["headers"].as_object();
    let mut headers: Vec<(&str, &str)> = headers
        .into_iter()
        .flatten()
        // The length is the client library's to say.
        .filter(|(name, _)| *name != "content-length")
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    match case["config"]["framing"].as_str() {
        None | Some("json_array") => (),
        Some("ndjson") => headers.push(("accept", "application/x-ndjson")),
        Some("sse") => headers.push(("accept", "text/event-stream")),
        Some(other) => panic!("unknown framing {other}"),
    }
    let mut body = body_of(http);
    if case["config"]["max_request_bytes"].as_u64().is_some() {
        body.extend_from_slice(&[b' '; LIMIT_MIN]);
    }
    let verb = Method::from_bytes(http["method"].as_str().unwrap().as_bytes()).unwrap();
    Rest::new(world, Http::One, None).send(verb, &path, &headers, body).await
}

fn limit(case: &Value) -> String {
    let small = case["config"]["max_request_bytes"].as_u64().is_some();
    format!("message_bytes_max = {}", if small { LIMIT_MIN } else { 4 << 20 })
}

/// The switches and the rule of a case, as tables of `edge.toml`.
fn tables(case: &Value) -> String {
    let config = &case["config"];
    let on = |key: &str| config[key] == true;
    let rule: Option<HttpRule> =
        case["rule"].get("auto").is_none().then(|| serde_json::from_value(case["rule"].clone()).unwrap());
    let overrides = Overrides {
        methods: vec![MethodOverride {
            name: case["rpc"].as_str().unwrap().to_owned(),
            http: rule.map(|rule| vec![rule]),
            policy: None,
            rest: Some(RestOptions {
                print_defaults: Some(on("emit_defaults")),
                update_mask_from_body: on("auto_field_mask"),
                ..RestOptions::default()
            }),
            ignore_unknown_fields: None,
        }],
        services: vec![ServiceOverride {
            name: SERVICE.to_owned(),
            upstream: None,
            policy: Some(toml::from_str("allow = [\"anonymous\"]").unwrap()),
            auto_mapping: on("auto_mapping"),
        }],
    };
    let transcoding = format!(
        "[transcoding]\ncase_insensitive_enums = {}\nignore_unknown_query = {}\ngrpc_gateway = {}",
        on("case_insensitive_enums"),
        config["unknown_query"] == "ignore",
        config["compat"] == "grpc-gateway" || GATEWAY_NAMES.contains(&case["id"].as_str().unwrap()),
    );
    let overrides = toml::to_string(&overrides).unwrap();
    format!("[headers]\nrequest = [\"*\"]\n{transcoding}\n{overrides}")
}

fn script(case: &Value, method: &MethodDescriptor) -> Result<Script, String> {
    // What the keys cannot say stands in the notes of these two.
    match case["id"].as_str().unwrap() {
        "RS-031" => return Ok(Script::Plain(504)),
        "RS-032" => return Ok(Script::Plain(200)),
        _ => (),
    }
    if let Some(raw) = case["grpc_response_raw_frame"].as_str() {
        return Ok(Script::Raw(hex(raw)));
    }
    let output = case["grpc_response_type"].as_str().map_or_else(|| method.output(), message);
    let encode = |json: &Value| Ok::<_, String>(expect::parse(&output, json)?.encode_to_vec());
    let status = &case["grpc_status"];
    let with_message = case["config"].get("with_message");
    let messages = match (case["grpc_responses"].as_array(), case["grpc_response_raw"].as_str()) {
        (Some(responses), _) => responses.iter().map(encode).collect::<Result<_, _>>()?,
        (None, Some(raw)) => vec![hex(raw)],
        (None, None) if status.is_null() || with_message.is_some() => {
            let message = case.get("grpc_response").or(with_message);
            vec![message.map_or_else(|| Ok(Vec::new()), encode)?]
        }
        (None, None) => Vec::new(),
    };
    let trailers = trailers(status)?;
    let failed = status["code"].as_u64().is_some_and(|code| code != 0);
    if messages.is_empty() && failed && case["config"].get("shape").is_none() {
        return Ok(Script::TrailersOnly(trailers));
    }
    let coding = case["config"]["upstream_grpc_encoding"].as_str().map(str::to_owned);
    Ok(Script::Grpc { messages, at_once: case["config"].get("split").is_some(), coding, trailers })
}

fn trailers(status: &Value) -> Result<HeaderMap, String> {
    let mut trailers = HeaderMap::new();
    if status.is_null() {
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        return Ok(trailers);
    }
    let Some(code) = status["code"].as_u64() else {
        trailers.insert("x-no-status", HeaderValue::from_static("here"));
        return Ok(trailers);
    };
    trailers.insert("grpc-status", HeaderValue::from(code));
    if let Some(text) = status["message"].as_str() {
        let text = percent_encoding::utf8_percent_encode(text, percent_encoding::CONTROLS).to_string();
        trailers.insert("grpc-message", HeaderValue::try_from(text).unwrap());
    }
    if let Some(details) = status["details"].as_array() {
        let mut bytes = Vec::new();
        for detail in details {
            let any = expect::parse(&message("google.protobuf.Any"), detail)?.encode_to_vec();
            prost_reflect::prost::encoding::bytes::encode(3, &any, &mut bytes);
        }
        let value = HeaderValue::try_from(STANDARD_NO_PAD.encode(bytes)).unwrap();
        trailers.insert("grpc-status-details-bin", value);
    }
    Ok(trailers)
}

fn schema() -> &'static [u8] {
    static SCHEMA: OnceLock<Vec<u8>> = OnceLock::new();
    SCHEMA.get_or_init(cases::compile_schema)
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(schema()).unwrap())
}

fn message(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(name).unwrap()
}

fn method(rpc: &str) -> MethodDescriptor {
    let (service, name) = rpc.split_once('/').unwrap();
    let mut methods = pool().get_service_by_name(service).unwrap().methods().collect::<Vec<_>>().into_iter();
    methods.find(|method| method.name() == name).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
