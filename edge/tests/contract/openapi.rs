//! The OpenAPI document of the project's own contract and of one with every type there is: whole, without loose ends, and true
//! to what the edge does.

use std::collections::BTreeSet;

use edge::builtin::openapi::document;
use edge::contract::{Contract, HttpRule, MethodOverride, Overrides, PolicySource};
use edge::{route, transcode};
use serde_json::Value;

use super::own_contract;
use super::support;

fn own() -> Value {
    document(&own_contract::contract(), "Causeway", &transcode::Options::default())
}

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

fn check_references(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for reference in found {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some_and(Value::is_object), "{reference}");
    }
}

fn parameter<'a>(operation: &'a Value, name: &str) -> &'a Value {
    let list = operation["parameters"].as_array().unwrap();
    list.iter().find(|parameter| parameter["name"] == name).unwrap()
}

#[test]
fn every_public_binding_is_described_and_no_other() {
    let (document, contract) = (own(), own_contract::contract());
    check_references(&document);
    let described: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(described, contract.bindings().count());
    for (method, binding) in contract.bindings() {
        let operation = document["paths"].as_object().unwrap().values().find(|path| {
            let operation = &path[binding.http_method().to_ascii_lowercase()];
            operation["operationId"].as_str().is_some_and(|id| id.ends_with(&format!("_{}", method.name)))
        });
        assert!(operation.is_some(), "{}", method.path);
    }
    let text = document.to_string();
    assert!(!text.contains("CreateLedgerAccount") && !text.contains("BatchGetEntries"));
}

#[test]
fn an_operation_says_what_the_contract_says() {
    let document = own();
    let create = &document["paths"]["/v1/transfers"]["post"];
    assert_eq!(create["operationId"], "LedgerService_CreateTransfer");
    assert!(
        create["description"].as_str().unwrap().contains("Scopes, one of: `payments.write`, `staff.write`.")
    );
    assert_eq!(create["security"][0]["bearer"][0], "payments.write");
    assert_eq!(create["security"][1]["bearer"][0], "staff.write");
    assert_eq!(parameter(create, "Idempotency-Key")["in"], "header");
    assert_eq!(create["responses"]["201"]["headers"]["Location"]["schema"]["type"], "string");
    let refused = create["responses"]["400"]["description"].as_str().unwrap();
    assert!(refused.contains("INSUFFICIENT_FUNDS"), "{refused}");
    let example = &create["responses"]["400"]["content"]["application/json"]["example"]["error"];
    assert_eq!((&example["code"], &example["status"]), (&400.into(), &"INVALID_ARGUMENT".into()));
    let problem = &create["responses"]["400"]["content"]["application/problem+json"]["schema"]["$ref"];
    assert_eq!(problem, "#/components/schemas/edge.v1.Problem");
    assert!(create["responses"]["409"]["description"].as_str().unwrap().contains("request_id"));
    let body = &create["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/ledger.v1.CreateTransferRequest");

    let schemas = &document["components"]["schemas"];
    let request = &schemas["ledger.v1.CreateTransferRequest"];
    assert_eq!(request["additionalProperties"], false);
    assert_eq!(request["properties"]["amount"]["$ref"], "#/components/schemas/ledger.v1.Money");
    assert_eq!(schemas["ledger.v1.Money"]["properties"]["minorUnits"]["format"], "int64");
    assert!(request["properties"]["reference"]["description"].as_str().unwrap().contains("140"));
    assert!(schemas["ledger.v1.Transfer"].get("additionalProperties").is_none());

    let account = &document["paths"]["/v1/accounts/{account_id}"]["get"];
    assert_eq!(parameter(account, "If-None-Match")["in"], "header");
    assert!(account["responses"].get("304").is_some());
    let balance = &document["paths"]["/v1/accounts/{account_id}/balance"]["get"];
    let fields = serde_json::json!({"$ref": "#/components/parameters/edge.v1.Fields"});
    assert!(balance["parameters"].as_array().unwrap().contains(&fields));
    assert_eq!(document.pointer("/components/parameters/edge.v1.Fields/name"), Some(&"$fields".into()));
    let download = &document["paths"]["/v1/documents/{document_id}/content"]["get"];
    assert!(!download["parameters"].as_array().unwrap().contains(&fields), "bytes have no fields");
    assert_eq!(parameter(balance, "account_id")["required"], true);
    assert_eq!(parameter(balance, "asOf")["schema"]["format"], "date-time");
    let post = &document["paths"]["/v1/transfers/{transfer_id}:post"]["post"];
    let body = &post["requestBody"];
    assert_eq!(body["required"], false, "all of it may come by path and header");
    assert!(body["content"]["application/json"]["schema"]["properties"].get("transferId").is_none());
    let upload = &document["paths"]["/v1/documents/{document_id}/content"]["put"];
    assert!(upload["requestBody"]["content"].get("application/octet-stream").is_some());
    let parts = &upload["requestBody"]["content"]["multipart/form-data"]["schema"];
    assert_eq!(
        (&parts["properties"]["file"]["format"], &parts["required"][0]),
        (&"binary".into(), &"file".into())
    );
    let form = &create["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["properties"];
    assert_eq!(form["amount.minorUnits"]["format"], "int64");
    assert!(form.get("amount").is_none(), "a form names fields, not messages");
    assert_eq!(upload["responses"]["200"]["headers"]["ETag"]["schema"]["type"], "string");
}

#[test]
fn every_type_has_a_schema() {
    let rule = |template: &str, body: &str| HttpRule {
        post: Some(template.to_owned()),
        body: body.to_owned(),
        ..HttpRule::default()
    };
    let everything = support::pool().services().next().unwrap();
    let methods: Vec<_> = everything.methods().map(|method| method.name().to_owned()).collect();
    let names: Vec<_> = methods.iter().map(|name| format!("{}/{name}", support::SERVICE)).collect();
    for body in ["*", ""] {
        let rules = names.iter().zip(&methods);
        let rules =
            rules.map(|(rpc, name)| (rpc.as_str(), vec![rule(&format!("/v1/{name}"), body)])).collect();
        let contract = support::contract(
            rules,
            false,
            &route::Options::default(),
            &transcode::Options::default(),
            |_| (),
        );
        let document = document(&contract.unwrap(), "Everything", &transcode::Options::default());
        check_references(&document);
        assert!(!document.to_string().contains("null,"), "a schema was left open");
    }
}

/// The document of a contract of one service `p.S` that anyone may call.
fn described(text: &str, rules: Vec<(&str, Vec<HttpRule>)>, options: &transcode::Options) -> Value {
    let method = |(name, http): (&str, Vec<HttpRule>)| MethodOverride {
        name: format!("p.S/{name}"),
        http: Some(http),
        policy: Some(support::anyone()),
        rest: None,
        ignore_unknown_fields: None,
    };
    let overrides = Overrides { methods: rules.into_iter().map(method).collect(), services: Vec::new() };
    let sets = [(support::set(PolicySource::Config), support::compile_text(text))];
    let contract = Contract::from_bytes(&sets, &overrides, &route::Options::default(), options);
    document(&contract.unwrap(), "Things", options)
}

#[test]
fn streams_are_described_in_every_form_they_take() {
    let text = r#"syntax = "proto3"; package p;
        message M { oneof choice { string a = 1; int64 b = 2; } map<int32, M> by_number = 3; }
        service S { rpc Down(M) returns (stream M); rpc Both(stream M) returns (stream M); }"#;
    let post = |path: &str| HttpRule { post: Some(path.into()), body: "*".into(), ..HttpRule::default() };
    let rules = || vec![("Down", vec![post("/v1/down")]), ("Both", vec![post("/v1/both")])];
    let schema = serde_json::json!({"$ref": "#/components/schemas/p.M"});
    let document = described(text, rules(), &transcode::Options::default());
    let [down, both] = ["/v1/down", "/v1/both"].map(|path| &document["paths"][path]["post"]);
    assert_eq!(down["requestBody"]["content"]["application/json"]["schema"], schema);
    assert_eq!(both["requestBody"]["content"]["application/json"]["schema"]["items"], schema);
    assert_eq!(both["requestBody"]["content"]["application/x-ndjson"]["schema"], schema);
    for operation in [down, both] {
        let content = &operation["responses"]["200"]["content"];
        assert_eq!(content["application/json"]["schema"]["items"], schema);
        assert_eq!(content["application/x-ndjson"]["schema"]["anyOf"][0], schema);
        assert_eq!(content["text/event-stream"]["schema"]["type"], "string");
        assert_eq!(operation["security"], serde_json::json!([{}]));
    }
    let speaks_websocket =
        |operation: &Value| operation["description"].as_str().is_some_and(|text| text.contains("WebSocket"));
    assert!(speaks_websocket(both) && !speaks_websocket(down));
    let message = &document["components"]["schemas"]["p.M"];
    assert_eq!(message["allOf"], serde_json::json!([{"not": {"required": ["a", "b"]}}]));
    assert_eq!(message["properties"]["byNumber"]["propertyNames"]["pattern"], "^-?[0-9]+$");

    let options =
        transcode::Options { grpc_gateway: true, print_proto_names: true, ..transcode::Options::default() };
    let document = described(text, rules(), &options);
    let content = &document["paths"]["/v1/down"]["post"]["responses"]["200"]["content"];
    assert_eq!(content["application/json"]["schema"]["properties"]["result"], schema);
    assert!(document["components"]["schemas"]["p.M"]["properties"].get("by_number").is_some());
}

#[test]
fn forms_are_described_where_they_are_taken() {
    let text = r#"syntax = "proto3"; package p;
        import "google/api/httpbody.proto";
        import "google/protobuf/struct.proto";
        message M {
            string a = 1; bytes photo = 2; repeated bytes pages = 3; map<string, int32> by_name = 4; M inner = 5;
            google.api.HttpBody scan = 6; google.protobuf.Struct any = 7; Inner other = 8;
        }
        message Inner { string b = 1; }
        message Put { string id = 1; M m = 2; repeated string list = 3; google.api.HttpBody content = 4; }
        service S {
            rpc Whole(M) returns (M); rpc Field(Put) returns (M); rpc List(Put) returns (M); rpc Up(stream Put) returns (M);
            rpc Both(stream M) returns (stream M);
        }"#;
    let rule = |path: &str, body: &str| {
        vec![HttpRule { post: Some(path.into()), body: body.into(), ..HttpRule::default() }]
    };
    let rules = vec![
        ("Whole", rule("/v1/whole/{a}", "*")),
        ("Field", rule("/v1/field/{id}", "m")),
        ("List", rule("/v1/list", "list")),
        ("Up", rule("/v1/up/{id}", "content")),
        ("Both", rule("/v1/both", "*")),
    ];
    let document = described(text, rules, &transcode::Options::default());
    check_references(&document);
    let content = |path: &str| &document["paths"][path]["post"]["requestBody"]["content"];
    let form = &content("/v1/field/{id}")["application/x-www-form-urlencoded"];
    let names: Vec<&String> = form["schema"]["properties"].as_object().unwrap().keys().collect();
    let all = ["a", "any", "byName", "other.b", "pages", "photo", "scan.contentType", "scan.data"];
    assert_eq!(names, all);
    assert_eq!(form["encoding"], serde_json::json!({"byName": {"style": "deepObject", "explode": true}}));
    assert_eq!(form["schema"]["properties"]["photo"]["contentEncoding"], "base64");
    let parts = &content("/v1/field/{id}")["multipart/form-data"]["schema"]["properties"];
    assert_eq!(parts["photo"], serde_json::json!({"type": "string", "format": "binary"}));
    assert_eq!(parts["pages"]["items"]["format"], "binary");
    assert_eq!(parts["scan"]["format"], "binary");
    let whole = &content("/v1/whole/{a}")["multipart/form-data"]["schema"]["properties"];
    assert!(whole.get("a").is_none() && whole.get("photo").is_some(), "what the path says is said");
    assert_eq!(content("/v1/list").as_object().unwrap().len(), 1, "a list has no names");
    let upload = content("/v1/up/{id}");
    assert!(upload.get("application/x-www-form-urlencoded").is_none(), "bytes like any others");
    let parts = &upload["multipart/form-data"]["schema"];
    assert_eq!(parts["required"], serde_json::json!(["file"]));
    assert!(parts["properties"].get("m.a").is_some() && parts["properties"].get("id").is_none());
    let stream = content("/v1/both");
    assert!(stream["multipart/form-data"]["schema"]["properties"].get("file").is_some());
    assert!(stream["application/x-www-form-urlencoded"]["schema"]["properties"].get("a").is_some());
}

#[test]
fn a_method_that_spells_unlike_the_others_has_schemas_of_its_own() {
    let text = r#"syntax = "proto3"; package p; enum E { E_UNSPECIFIED = 0; } message M { E some_enum = 1; M same_again = 2; }
        service S { rpc Usual(M) returns (M); rpc Other(M) returns (M); }"#;
    let overrides: Overrides = toml::from_str(
        r#"
        [[service]]
        name = "p.S"
        policy = { allow = ["anonymous"] }
        [[method]]
        name = "p.S/Usual"
        http = [{ get = "/v1/usual" }]
        [[method]]
        name = "p.S/Other"
        http = [{ get = "/v1/other" }]
        rest = { print_proto_names = true, print_enum_numbers = true }
        "#,
    )
    .unwrap();
    let sets = [(support::set(PolicySource::Config), support::compile_text(text))];
    let options = transcode::Options::default();
    let contract = Contract::from_bytes(&sets, &overrides, &route::Options::default(), &options).unwrap();
    let document = document(&contract, "Things", &options);
    check_references(&document);
    let schemas = &document["components"]["schemas"];
    let answer = |path: &str| {
        let schema =
            &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let name = schema["$ref"].as_str().unwrap().trim_start_matches("#/components/schemas/").to_owned();
        (schemas[&name]["properties"].clone(), name)
    };
    let (usual, name) = answer("/v1/usual");
    assert_eq!((name.as_str(), &usual["someEnum"]["$ref"]), ("p.M", &"#/components/schemas/p.E".into()));
    let (other, name) = answer("/v1/other");
    assert_eq!(name, "p.M-proto_names-enum_numbers");
    assert_eq!(other["same_again"]["$ref"], format!("#/components/schemas/{name}"));
    assert_eq!(other["some_enum"]["$ref"], "#/components/schemas/p.E-enum_numbers");
    assert_eq!(schemas["p.E-enum_numbers"]["type"], "integer");
    assert_eq!(schemas["p.E"]["type"], "string");
    assert_eq!(parameter(&document["paths"]["/v1/other"]["get"], "some_enum")["in"], "query");
}

#[test]
fn paths_that_differ_in_names_only_are_one() {
    let rules = vec![
        HttpRule { get: Some("/v1/things/{a}".into()), ..HttpRule::default() },
        HttpRule { delete: Some("/v1/things/{b}".into()), ..HttpRule::default() },
    ];
    let text = r#"syntax = "proto3"; package p; message M { string a = 1; string b = 2; }
        service S { rpc R(M) returns (M); }"#;
    let document = described(text, vec![("R", rules)], &transcode::Options::default());
    let path = &document["paths"]["/v1/things/{a}"];
    assert_eq!(parameter(&path["delete"], "a")["in"], "path");
    assert_eq!(parameter(&path["get"], "b")["in"], "query");
    assert_eq!(path["get"]["operationId"], "S_R");
    assert_eq!(path["delete"]["operationId"], "S_R_2");
}
