//! The conformance cases as data: where they are, what our rules expect of them, and what a case sends.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The checkout, whichever crate this file is part of.
pub fn repository() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("ARCHITECTURE.md").exists()).unwrap().to_owned()
}

pub fn cases() -> Vec<Value> {
    let lines = std::fs::read_to_string(repository().join("tests/conformance/cases.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The schema of the cases, with the error details in it.
pub fn compile_schema() -> Vec<u8> {
    let root = repository();
    let mut compiler = protox::Compiler::new([root.join("tests/conformance"), root.join("proto")]).unwrap();
    compiler.include_imports(true).open_file("conformance.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// What a case expects; our rule where it replaces `expect`.
pub fn expectation(case: &Value) -> Value {
    match case["id"].as_str().unwrap() {
        "PM-017" => json!({ "route": null }),
        "RQ-011" | "RQ-014" | "RQ-020" | "RQ-071" => json!({ "http_status": 400 }),
        "RQ-129" => json!({ "grpc_request": {}, "grpc_metadata": { "custom-header": ["v"] } }),
        "RS-003" => json!({ "http_status": 200, "body_json": {
            "name": "", "leaf": { "label": "", "amount": "0", "active": false, "color": "COLOR_UNSPECIFIED" },
            "leaves": [], "tags": {}, "depth": 0, "quotes": [] } }),
        "RS-031" => json!({ "http_status": 504, "headers": { "content-type": "application/json" } }),
        "RS-032" => json!({ "http_status": 502, "headers": { "content-type": "application/json" } }),
        // Two rules fit, a broken frame and a missing status; the case takes either.
        "RS-036" => json!({ "http_status": 502, "headers": { "content-type": "application/json" } }),
        "ER-025" => json!({ "http_status": 502, "body_json": { "code": 2, "message": "*" } }),
        "ST-032" => json!({ "http_status": 200, "grpc_requests": [{ "sVal": "1" }] }),
        _ => case["expect"].clone(),
    }
}

pub fn path_of(http: &Value) -> String {
    if let Some(path) = http["path"].as_str() {
        return path.to_owned();
    }
    let generator = &http["path_gen"];
    let text = |key: &str| generator[key].as_str().unwrap();
    [text("prefix"), &text("repeat").repeat(generator["count"].as_u64().unwrap() as usize), text("suffix")]
        .concat()
}

pub fn body_of(http: &Value) -> Vec<u8> {
    if let Some(body) = http["body_base64"].as_str() {
        return STANDARD.decode(body).unwrap();
    }
    match http.get("body_gen") {
        Some(generator) => generate(generator),
        None => http["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

/// A JSON object with one field, a string of the given length.
pub fn generate(generator: &Value) -> Vec<u8> {
    let bytes = generator["bytes"].as_u64().unwrap() as usize;
    let text: String = generator["repeat"].as_str().unwrap().chars().cycle().take(bytes).collect();
    json!({ generator["field"].as_str().unwrap(): text }).to_string().into_bytes()
}

pub fn same<T: std::fmt::Debug + PartialEq>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} is {got:?}, expected {expected:?}")) }
}
