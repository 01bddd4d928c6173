//! How answers are printed: the habits of all methods, and of one that has its own, by its contract or by the operator.

use edge::contract::{Contract, Overrides, PolicySource};
use edge::route;
use edge::transcode::Options;
use serde_json::{Value, json};

use super::support;

const TEXT: &str = r#"
    syntax = "proto3";
    package p;
    import "edge/v1/policy.proto";
    import "google/api/annotations.proto";
    enum E { E_UNSPECIFIED = 0; E_ONE = 1; }
    message M { E some_enum = 1; string no_text = 2; }
    service S {
      rpc Silent(M) returns (M) { option (google.api.http) = {get: "/silent"}; }
      rpc All(M) returns (M) {
        option (google.api.http) = {get: "/all"};
        option (edge.v1.rest) = {print_defaults: true print_enum_numbers: true print_proto_names: true};
      }
      rpc None(M) returns (M) {
        option (google.api.http) = {get: "/none"};
        option (edge.v1.rest) = {print_defaults: false print_enum_numbers: false print_proto_names: false};
      }
      rpc Names(M) returns (M) {
        option (google.api.http) = {get: "/names"};
        option (edge.v1.rest) = {print_proto_names: true};
      }
    }
"#;

/// The answer `{some_enum: E_ONE}` of the method at a path.
fn printed(path: &str, options: &Options, overrides: &str) -> Value {
    let service = r#"
        [[service]]
        name = "p.S"
        policy = { allow = ["anonymous"] }
        "#;
    let overrides: Overrides = toml::from_str(&format!("{service}{overrides}")).unwrap();
    let policy = r#"
        option (edge.v1.policy) = {allow: [PRINCIPAL_KIND_ANONYMOUS] default_deadline: {seconds: 1} max_deadline: {seconds: 1}};
        option (google.api.http)"#;
    let text = TEXT.replace("option (google.api.http)", policy);
    let sets = [(support::set(PolicySource::Descriptor), support::compile_text(&text))];
    let contract = Contract::from_bytes(&sets, &overrides, &route::Options::default(), options).unwrap();
    let found = contract.route(&http::Method::GET, path).unwrap();
    let mut json = Vec::new();
    found.binding.decode_response(&[8, 1], &mut json).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn a_method_prints_as_it_says_and_else_as_all_do() {
    let on = Options {
        print_defaults: true,
        print_enum_numbers: true,
        print_proto_names: true,
        ..Options::default()
    };
    let (plain, full) = (json!({"someEnum": "E_ONE"}), json!({"some_enum": 1, "no_text": ""}));
    let check = |path, options: &Options, overrides: &str, expect: &Value| {
        assert_eq!(printed(path, options, overrides), *expect, "{path} {overrides}");
    };
    check("/silent", &Options::default(), "", &plain);
    check("/silent", &on, "", &full);
    for options in [&Options::default(), &on] {
        check("/all", options, "", &full);
        check("/none", options, "", &plain);
    }
    check("/names", &Options::default(), "", &json!({"some_enum": "E_ONE"}));
    // The operator has the last word, also on what is not said.
    let silent = "[[method]]\nname = \"p.S/All\"\nrest = { print_enum_numbers = true }\n";
    check("/all", &Options::default(), silent, &json!({"someEnum": 1}));
    let off = "[[method]]\nname = \"p.S/All\"\nrest = { print_enum_numbers = false }\n";
    check("/all", &on, off, &json!({"some_enum": "E_ONE", "no_text": ""}));
}
