//! How many elements the JSON of a request may have: small ones are cheap to send and dear to keep.

use edge::contract::HttpRule;
use edge::route::{self, Variables};
use edge::transcode::{Options, RequestError};

use super::support;

/// What becomes of a request, with room for ten elements.
fn verdict(query: Option<&str>, form: bool, body: &str) -> Result<(), RequestError> {
    let options = Options { elements_max: 10, ..Options::default() };
    let rule = HttpRule { post: Some("/v1/e".into()), body: "*".into(), ..HttpRule::default() };
    let unbound = HttpRule { get: Some("/v1/e".into()), ..HttpRule::default() };
    let rules = vec![("edgeconf.v1.Conformance/Unary", vec![rule, unbound])];
    let contract = support::contract(rules, false, &route::Options::default(), &options, |_| ()).unwrap();
    let verb = if query.is_some() { http::Method::GET } else { http::Method::POST };
    let found = contract.route(&verb, "/v1/e").unwrap();
    let nothing = Variables::default();
    let mut request = support::rest(&nothing, query, body.as_bytes());
    request.content_type = form.then_some("application/x-www-form-urlencoded");
    found.binding.encode_request(&request, &mut Vec::new())
}

#[test]
fn a_body_has_room_for_so_many_elements_and_no_more() {
    let nine = ["{}"; 9].join(",");
    assert_eq!(verdict(None, false, &format!("{{\"rLeaf\": [{nine}]}}")), Ok(()));
    // Whatever they are: messages, scalars, members of what is not known, values of a Struct or of an Any.
    for body in [
        format!("{{\"rLeaf\": [{nine}, {{}}]}}"),
        "{\"rStr\": [\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}".to_owned(),
        format!("{{\"unknown\": [{nine}, {{}}]}}"),
        format!("{{\"st\": {{\"a\": [{nine}]}}}}"),
    ] {
        let Err(RequestError::MalformedJson { reason, .. }) = verdict(None, false, &body) else {
            panic!("{body}");
        };
        assert_eq!(reason, "more elements than the bound", "{body}");
    }
}

#[test]
fn what_is_stepped_over_to_find_its_type_counts_once() {
    let any = r#"{"any": {"value": {"a": 1, "b": 2, "c": 3, "d": 4}, "@type": "x/google.protobuf.Struct"}}"#;
    assert_eq!(verdict(None, false, any), Ok(()));
}

#[test]
fn the_json_in_a_query_or_a_form_has_one_room_for_all() {
    let violation = |verdict| match verdict {
        Err(RequestError::Invalid { violations }) => violations[0].description.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(verdict(Some("val=[1,2,3,4,5,6,7,8,9,10]"), false, ""), Ok(()));
    for pairs in ["val=[1,2,3,4,5,6,7,8,9,10,11]", "st={\"a\":[1,2,3,4,5]}&val=[1,2,3,4,5]"] {
        let full = "has more elements than the bound";
        assert_eq!(violation(verdict(Some(pairs), false, "")), full, "{pairs}");
        assert_eq!(violation(verdict(None, true, pairs)), full, "{pairs}");
    }
}
