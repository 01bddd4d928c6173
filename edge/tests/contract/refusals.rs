//! What a configuration may not be. Each refusal names what is at fault.

use edge::contract::{Contract, ContractError, DescriptorSet, HttpRule, Overrides, PolicySource};
use edge::policy::Listener;
use edge::{route, transcode};

use super::support;

const UNARY: &str = "edgeconf.v1.Conformance/Unary";

fn load(sets: &[(DescriptorSet, Vec<u8>)], overrides: &str) -> Result<Contract, ContractError> {
    let overrides: Overrides = toml::from_str(overrides).unwrap();
    Contract::from_bytes(sets, &overrides, &route::Options::default(), &transcode::Options::default())
}

fn get(template: &str) -> HttpRule {
    HttpRule { get: Some(template.to_owned()), ..HttpRule::default() }
}

fn refusal(rules: Vec<HttpRule>) -> String {
    let verdict = support::contract(
        vec![(UNARY, rules)],
        false,
        &route::Options::default(),
        &transcode::Options::default(),
        |_| {},
    );
    verdict.map(|_| ()).expect_err("refused").to_string()
}

#[test]
fn rules_that_cannot_work_are_refused_by_name() {
    let body = |body: &str| HttpRule { body: body.to_owned(), ..get("/v1/e") };
    let response = |field: &str| HttpRule { response_body: field.to_owned(), ..get("/v1/e") };
    let nested = HttpRule { additional_bindings: vec![get("/v1/b")], ..get("/v1/a") };
    for (rule, expect) in [
        (get("v1"), "does not start with a slash"),
        (get("/v1/{nope}"), "has no field nope"),
        (get("/v1/{leaf}"), "cannot hold a message"),
        (get("/v1/{r_str}"), "cannot hold a message, a map or a list"),
        (get("/v1/{m_ss}"), "cannot hold a message, a map or a list"),
        (get("/v1/{any}"), "cannot hold a message"),
        (get("/v1/{r_leaf.label}"), "not a single message"),
        (get("/v1/{s_val.x}"), "not a single message"),
        (body("nope"), "body: edgeconf.v1.Everything has no field nope"),
        (response("nope"), "response_body: edgeconf.v1.Everything has no field nope"),
        (response("*"), "response_body names a field"),
        (HttpRule::default(), "exactly one HTTP method"),
        (HttpRule { put: Some("/v1/e".into()), ..get("/v1/e") }, "exactly one HTTP method"),
        (HttpRule { additional_bindings: vec![nested], ..get("/v1/e") }, "additional_bindings inside"),
    ] {
        let text = refusal(vec![rule]);
        assert!(text.contains(expect), "{text}");
        assert!(text.contains(UNARY) && text.contains("inline.binpb"), "{text}");
    }
}

#[test]
fn templates_that_match_the_same_requests_are_refused_naming_both() {
    let text = support::contract(
        vec![
            (UNARY, vec![get("/v1/{s_val}/x")]),
            ("edgeconf.v1.Conformance/Second", vec![get("/v1/{opt_str=*}/x")]),
        ],
        false,
        &route::Options::default(),
        &transcode::Options::default(),
        |_| {},
    )
    .map(|_| ())
    .unwrap_err()
    .to_string();
    for part in [UNARY, "edgeconf.v1.Conformance/Second", "/v1/{s_val}/x", "/v1/{opt_str=*}/x"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_method_without_a_policy_is_refused() {
    let sets = [(support::set(PolicySource::Config), support::schema().to_vec())];
    let text = load(&sets, "").map(|_| ()).unwrap_err().to_string();
    assert!(text.contains(UNARY) && text.contains("no policy"), "{text}");
}

#[test]
fn overrides_that_name_nothing_are_refused() {
    let sets = [(support::set(PolicySource::Config), support::schema().to_vec())];
    let service = "[[service]]\nname = \"edgeconf.v1.Conformance\"\npolicy = { allow = [\"subject\"] }\n";
    for (extra, expect) in [
        ("[[service]]\nname = \"no.Such\"\n", "no.Such"),
        ("[[method]]\nname = \"edgeconf.v1.Conformance/Nope\"\n", "edgeconf.v1.Conformance/Nope"),
        ("[[service]]\nname = \"edgeconf.v1.Conformance\"\n", "named twice"),
    ] {
        let text = load(&sets, &format!("{service}{extra}")).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(expect), "{text}");
    }
}

#[test]
fn a_service_in_two_sets_is_refused_naming_both() {
    let set = |path: &str| DescriptorSet { path: path.into(), ..support::set(PolicySource::Config) };
    let sets = [(set("a.binpb"), support::schema().to_vec()), (set("b.binpb"), support::schema().to_vec())];
    let service = "[[service]]\nname = \"edgeconf.v1.Conformance\"\npolicy = { allow = [\"subject\"] }\n";
    let text = load(&sets, service).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("a.binpb") && text.contains("b.binpb"), "{text}");
}

#[test]
fn a_websocket_reaches_dialogues_whatever_their_verb() {
    let text = r#"
        syntax = "proto3";
        package x.v1;
        import "google/api/annotations.proto";
        import "google/api/httpbody.proto";
        service S {
          rpc One(M) returns (M) { option (google.api.http) = { get: "/v1/{id}:talk" }; }
          rpc Down(M) returns (stream M) { option (google.api.http) = { get: "/v1/{id}:down" }; }
          rpc Up(stream M) returns (M) { option (google.api.http) = { post: "/v1/{id}:up" body: "*" }; }
          rpc Talk(stream M) returns (stream M) { option (google.api.http) = { post: "/v1/{id}:talk" body: "*" }; }
          rpc Late(stream M) returns (stream M) { option (google.api.http) = { put: "/v1/{id}:talk" body: "*" }; }
          rpc Raw(stream M) returns (stream google.api.HttpBody) {
            option (google.api.http) = { post: "/v1/{id}:raw" body: "*" };
          }
        }
        message M { string id = 1; }
    "#;
    let sets = [(support::set(PolicySource::Config), support::compile_text(text))];
    let policy = "[[service]]\nname = \"x.v1.S\"\npolicy = { allow = [\"subject\"] }\n";
    let contract = load(&sets, policy).unwrap();
    let found = contract.route_websocket(Listener::Public, "/v1/a:talk").unwrap();
    assert_eq!((&*found.method.name, &*found.variables.0[0]), ("Talk", "a"));
    assert_eq!(&*contract.route(&http::Method::GET, "/v1/a:talk").unwrap().method.name, "One");
    for path in ["/v1/a:down", "/v1/a:up", "/v1/a:raw", "/v1/a"] {
        assert!(contract.route_websocket(Listener::Public, path).is_err(), "{path}");
    }
}

#[test]
fn policies_of_a_set_count_only_where_the_operator_says_so() {
    let text = r#"
        syntax = "proto3";
        package x.v1;
        import "edge/v1/policy.proto";
        service S {
          rpc Do(M) returns (M) {
            option (edge.v1.policy) = { allow: [PRINCIPAL_KIND_ANONYMOUS] default_deadline: { seconds: 1 } max_deadline: { seconds: 2 } };
          }
          rpc Stream(M) returns (stream M) {
            option (edge.v1.policy) = { allow: [PRINCIPAL_KIND_SUBJECT] default_deadline: { seconds: 1 } max_deadline: { seconds: 2 } };
          }
        }
        message M { string id = 1; }
    "#;
    let bytes = support::compile_text(text);
    let sets = |source| [(support::set(source), bytes.clone())];
    let stream = "[[method]]\nname = \"x.v1.S/Stream\"\npolicy = { allow = [\"subject\"] }\n";
    let contract = load(&sets(PolicySource::Descriptor), stream).unwrap();
    assert!(contract.by_grpc_path("/x.v1.S/Do").unwrap().policy.allow.anonymous);
    // A stream is bounded by stream bounds, which the descriptor leaves out.
    let text = load(&sets(PolicySource::Descriptor), "").map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("x.v1.S/Stream") && text.contains("stream bounds"), "{text}");
    let text = load(&sets(PolicySource::Config), stream).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("x.v1.S/Do") && text.contains("no policy"), "{text}");
}

#[test]
fn marks_that_cannot_work_are_refused() {
    for (fields, expect) in [
        ("int32 id = 1 [(edge.v1.field) = { request_id: true }];", "not a string"),
        ("M id = 1 [(edge.v1.field) = { resume_position: true }];", "not a scalar"),
        ("repeated int32 id = 1 [(edge.v1.field) = { resume_position: true }];", "not a scalar"),
        (
            "string a = 1 [(edge.v1.field) = { etag: true }]; string b = 2 [(edge.v1.field) = { etag: true }];",
            "two fields as etag",
        ),
    ] {
        let text = format!(
            "syntax = \"proto3\"; package x.v1; import \"edge/v1/policy.proto\"; import \"google/api/annotations.proto\";
             service S {{ rpc Do(M) returns (M) {{ option (google.api.http) = {{ get: \"/v1/m\" }}; }} }}
             message M {{ {fields} }}"
        );
        let sets = [(support::set(PolicySource::Config), support::compile_text(&text))];
        let policy = "[[service]]\nname = \"x.v1.S\"\npolicy = { allow = [\"subject\"] }\n";
        let text = load(&sets, policy).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(expect), "{text}");
    }
}

#[test]
fn a_file_that_is_no_descriptor_set_is_refused() {
    let sets = [(support::set(PolicySource::Config), b"not a descriptor set".to_vec())];
    assert!(load(&sets, "").map(|_| ()).unwrap_err().to_string().contains("inline.binpb"));
}
