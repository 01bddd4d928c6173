//! `$fields`: a part of an answer, by paths in either spelling.

use edge::contract::{Contract, HttpRule};
use edge::route;
use edge::transcode::{Options, RequestError};
use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message as _;
use serde_json::{Value, json};

use super::support;

fn contract(response_body: &str, options: &Options) -> Contract {
    let rule = HttpRule {
        get: Some("/v1/e".into()),
        response_body: response_body.to_owned(),
        ..HttpRule::default()
    };
    let rules = vec![("edgeconf.v1.Conformance/Unary", vec![rule])];
    support::contract(rules, false, &route::Options::default(), options, |_| ()).unwrap()
}

fn message() -> Vec<u8> {
    let everything = support::pool().get_message_by_name("edgeconf.v1.Everything").unwrap();
    let json = json!({
        "sVal": "a",
        "i64": "7",
        "rStr": ["x", "y"],
        "leaf": {"label": "l", "amount": "1"},
        "rLeaf": [{"label": "one", "amount": "1"}, {"label": "two"}, {"amount": "3"}],
        "mLeaf": {"k": {"label": "kl", "amount": "2"}},
        "mSs": {"a": "b"},
        "st": {"label": "not a field"},
    });
    let text = json.to_string();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    DynamicMessage::deserialize(everything, &mut deserializer).unwrap().encode_to_vec()
}

fn selected(contract: &Contract, query: &str) -> Result<Value, Vec<(String, String)>> {
    let binding = contract.route(&http::Method::GET, "/v1/e").unwrap().binding;
    let selection = binding.selection(Some(query)).map_err(|error| {
        let RequestError::Invalid { violations } = error else { panic!("{error}") };
        violations.into_iter().map(|violation| (violation.field, violation.description)).collect::<Vec<_>>()
    })?;
    let mut json = Vec::new();
    binding.decode_selected(&message(), selection.as_ref(), &mut json).unwrap();
    Ok(serde_json::from_slice(&json).unwrap())
}

#[test]
fn what_is_asked_for_is_printed_and_nothing_else() {
    let contract = contract("", &Options::default());
    let whole = selected(&contract, "").unwrap();
    assert_eq!(whole["leaf"]["label"], "l");
    for everything in ["$fields=", "$fields", "$fields=*", "%24fields=*", "fields=*", "s_val=fields"] {
        assert_eq!(selected(&contract, everything).unwrap(), whole, "{everything}");
    }
    let check = |query: &str, expect: Value| assert_eq!(selected(&contract, query), Ok(expect), "{query}");
    check("$fields=sVal", json!({"sVal": "a"}));
    check("fields=s_val", json!({"sVal": "a"}));
    check("%24fields=i64%2Cs_val", json!({"sVal": "a", "i64": "7"}));
    check("$fields=leaf.label", json!({"leaf": {"label": "l"}}));
    check("$fields=leaf.label,leaf", json!({"leaf": whole["leaf"].clone()}));
    check("$fields=leaf,leaf.label", json!({"leaf": whole["leaf"].clone()}));
    check("$fields=leaf.label,leaf.amount", json!({"leaf": {"label": "l", "amount": "1"}}));
    // Through lists to each element, and behind maps to the fields of each value.
    check("$fields=rLeaf.label", json!({"rLeaf": [{"label": "one"}, {"label": "two"}, {}]}));
    check("$fields=mLeaf.amount", json!({"mLeaf": {"k": {"amount": "2"}}}));
    check(
        "$fields=rStr,mSs,st",
        json!({"rStr": ["x", "y"], "mSs": {"a": "b"}, "st": {"label": "not a field"}}),
    );
    // What is not there is not there, but what is there without anything is.
    check("$fields=any", json!({}));
}

#[test]
fn defaults_are_printed_where_they_are_asked_for() {
    let contract = contract("", &Options { print_defaults: true, ..Options::default() });
    let json = selected(&contract, "$fields=rLeaf.amount,rI32,bVal")
        .unwrap_or_else(|violations| panic!("{violations:?}"));
    let leaves = json!([{"amount": "1"}, {"amount": "0"}, {"amount": "3"}]);
    assert_eq!(json, json!({"rLeaf": leaves, "rI32": [], "bVal": false}));
}

#[test]
fn paths_begin_at_what_is_printed() {
    let part = |field: &str, query: &str| selected(&contract(field, &Options::default()), query);
    assert_eq!(part("leaf", "$fields=label"), Ok(json!({"label": "l"})));
    assert_eq!(part("r_leaf", "$fields=label"), Ok(json!([{"label": "one"}, {"label": "two"}, {}])));
    assert_eq!(part("m_leaf", "$fields=label"), Ok(json!({"k": {"label": "kl"}})));
    assert_eq!(part("s_val", "$fields=*"), Ok(json!("a")));
    assert_eq!(part("s_val", "$fields=label").unwrap_err()[0].0, "$fields");
}

#[test]
fn a_path_to_nothing_is_refused_by_name() {
    let contract = contract("", &Options::default());
    let check = |query: &str, expect: &[(&str, &str)]| {
        let expect = expect.iter().map(|(field, text)| ((*field).to_owned(), (*text).to_owned())).collect();
        assert_eq!(selected(&contract, query), Err(expect), "{query}");
    };
    check(
        "$fields=nope,sVal,leaf.nope",
        &[
            ("$fields", "\"nope\" is not a field of the answer"),
            ("$fields", "\"leaf.nope\" is not a field of the answer"),
        ],
    );
    check("fields=sVal,*", &[("fields", "\"*\" is not a field of the answer")]);
    check("$fields=sVal,", &[("$fields", "\"\" is not a field of the answer")]);
    for path in ["sVal.x", "st.label", "any.x", "rStr.x", "mSs.a"] {
        let problem = format!("\"{path}\" goes into a value that has no fields");
        check(&format!("$fields={path}"), &[("$fields", &problem)]);
    }
    check("$fields=sVal&$fields=i64", &[("$fields", "must be given once")]);
    check("$fields=sVal&fields=i64", &[("fields", "must be given once")]);
    let deep = ["nested"; 17].join(".");
    let long = ["sVal"; 101].join(",");
    check(&format!("$fields={long}"), &[("$fields", "has more than 100 paths")]);
    check(&format!("$fields={deep}"), &[("$fields", &format!("\"{deep}\" is too deep"))]);
}

#[test]
fn the_parameter_is_not_the_requests() {
    let contract = contract("", &Options::default());
    let found = contract.route(&http::Method::GET, "/v1/e").unwrap();
    let encode = |query| {
        let mut out = Vec::new();
        found
            .binding
            .encode_request(&support::rest(&found.variables, Some(query), b""), &mut out)
            .map(|()| out)
    };
    assert_eq!(encode("$fields=sVal&fields=sVal"), Ok(Vec::new()));
    assert!(encode("$field=sVal").is_err());
}
