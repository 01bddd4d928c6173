//! Positions in a stream: what an event carries is what brings its reader back to the same place.

use edge::contract::{Contract, Overrides, PolicySource};
use edge::route::{self, Variables};
use edge::transcode::{Options, RestRequest};

use super::support;

/// A contract of one stream whose messages have a position of this kind in field 1.
fn contract(kind: &str) -> Contract {
    let text = format!(
        "syntax = \"proto3\"; package p; import \"edge/v1/policy.proto\";
         enum E {{ E_UNSPECIFIED = 0; E_ONE = 1; }}
         message M {{ {kind} position = 1 [(edge.v1.field) = {{resume_position: true}}]; }}
         service S {{ rpc Watch(M) returns (stream M); }}"
    );
    let method = "[[method]]\nname = \"p.S/Watch\"\nhttp = [{ get = \"/v1/m\" }]\npolicy = { allow = [\"anonymous\"] }\n";
    let overrides: Overrides = toml::from_str(method).unwrap();
    let sets = [(support::set(PolicySource::Config), support::compile_text(&text))];
    Contract::from_bytes(&sets, &overrides, &route::Options::default(), &Options::default()).unwrap()
}

#[test]
fn a_position_of_any_scalar_goes_down_and_comes_back() {
    let check = |kind: &str, message: &[u8], expect: &str| {
        let contract = contract(kind);
        let found = contract.route(&http::Method::GET, "/v1/m").unwrap();
        assert_eq!(found.binding.position(message).as_deref(), Some(expect), "{kind}");
        let nothing = Variables::default();
        let request = RestRequest { last_event_id: Some(expect), ..RestRequest::new(&nothing) };
        let mut out = Vec::new();
        found.binding.encode_request(&request, &mut out).unwrap();
        assert_eq!(out, message, "{kind}");
    };
    check("string", b"\x0a\x03a:b", "a:b");
    check("int64", &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "9223372036854775807");
    check("uint32", &[8, 7], "7");
    check("sint64", &[8, 1], "-1");
    check("fixed64", &[9, 7, 0, 0, 0, 0, 0, 0, 0], "7");
    check("bytes", &[0x0a, 2, 0xfb, 0xff], "+/8=");
    check("double", &[9, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f], "1.5");
    check("bool", &[8, 1], "true");
    check("E", &[8, 1], "E_ONE");
    check("optional int32", &[8, 0], "0");
}

#[test]
fn what_is_no_line_or_not_there_is_no_position() {
    let none = |kind: &str, message: &[u8]| {
        let contract = contract(kind);
        let found = contract.route(&http::Method::GET, "/v1/m").unwrap();
        assert_eq!(found.binding.position(message), None, "{kind}");
    };
    none("string", b"");
    none("string", b"\x0a\x03a\nb");
    none("string", b"\x0a\x03a\rb");
    none("string", b"\x0a\x03a\0b");
    none("optional int64", b"");
    none("int64", b"\x08");
}

#[test]
fn the_header_knows_better_than_the_query() {
    let contract = contract("int64");
    let found = contract.route(&http::Method::GET, "/v1/m").unwrap();
    let nothing = Variables::default();
    let request =
        RestRequest { query: Some("position=1"), last_event_id: Some("2"), ..RestRequest::new(&nothing) };
    let mut out = Vec::new();
    found.binding.encode_request(&request, &mut out).unwrap();
    assert_eq!(out, [8, 2]);
}
