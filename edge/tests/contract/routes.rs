//! Which route a request finds by the listener it came in by: what is not shown there is not there.

use edge::contract::{Contract, Overrides, PolicySource};
use edge::policy::Listener;
use edge::route::{self, Refusal};
use edge::transcode;
use http::Method;

use super::support;

fn contract() -> Contract {
    let text = r#"syntax = "proto3"; package p; message M { string id = 1; }
        service S { rpc Get(M) returns (M); rpc Inner(M) returns (M); rpc Special(M) returns (M); rpc Own(M) returns (M); }"#;
    let overrides: Overrides = toml::from_str(
        r#"
        [[service]]
        name = "p.S"
        policy = { allow = ["anonymous"] }
        [[method]]
        name = "p.S/Get"
        http = [{ get = "/v1/m/{id}" }]
        [[method]]
        name = "p.S/Inner"
        http = [{ delete = "/v1/m/{id}", additional_bindings = [{ post = "/v1/inner" }] }]
        policy = { allow = ["service"], services = ["svc-a"] }
        [[method]]
        name = "p.S/Special"
        http = [{ get = "/v1/m/special" }]
        policy = { allow = ["service"], services = ["svc-a"] }
        [[method]]
        name = "p.S/Own"
        http = [{ custom = { kind = "OPTIONS", path = "/v1/own" } }]
        "#,
    )
    .unwrap();
    let sets = [(support::set(PolicySource::Config), support::compile_text(text))];
    Contract::from_bytes(&sets, &overrides, &route::Options::default(), &transcode::Options::default())
        .unwrap()
}

#[test]
fn what_a_listener_does_not_show_is_not_there() {
    let contract = contract();
    let check = |listener, verb: Method, path: &str, expect: Result<&str, Refusal>| {
        let found = contract.route_on(listener, &verb, path).map(|found| found.method.name.to_string());
        assert_eq!(found.as_deref().map_err(Clone::clone), expect, "{verb} {path} {listener:?}");
    };
    let allow = |allow: &str| Err(Refusal::MethodNotAllowed { allow: allow.to_owned() });
    let (public, mesh) = (Listener::Public, Listener::Mesh);
    check(public, Method::GET, "/v1/m/a", Ok("Get"));
    // The verb of a hidden method reads like any other that is not there, and no refusal names it.
    check(public, Method::DELETE, "/v1/m/a", allow("GET, HEAD, OPTIONS"));
    check(public, Method::PUT, "/v1/m/a", allow("GET, HEAD, OPTIONS"));
    check(public, Method::POST, "/v1/inner", Err(Refusal::UnknownPath));
    check(public, Method::PUT, "/v1/inner", Err(Refusal::UnknownPath));
    check(public, Method::GET, "/v1/m/special", Ok("Get"));
    check(mesh, Method::GET, "/v1/m/special", Ok("Special"));
    check(mesh, Method::DELETE, "/v1/m/a", Ok("Inner"));
    check(mesh, Method::PUT, "/v1/inner", allow("OPTIONS, POST"));
    check(mesh, Method::GET, "/v1/m/a", allow("DELETE, OPTIONS"));
}

#[test]
fn options_is_the_edges_own_unless_a_rule_maps_it() {
    let contract = contract();
    let route = |path| contract.route(&Method::OPTIONS, path).map(|found| found.method.name.to_string());
    assert_eq!(route("/v1/own").as_deref(), Ok("Own"));
    let allow = "DELETE, GET, HEAD, OPTIONS".to_owned();
    assert_eq!(route("/v1/m/a"), Err(Refusal::MethodNotAllowed { allow }));
    assert_eq!(route("/v1/nothing"), Err(Refusal::UnknownPath));
}
