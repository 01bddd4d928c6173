//! The rows A13, A14 and A15: one spelling per token, and a bound on the work one can cause.

use proptest::prelude::*;

use super::*;
use crate::jwks::testing::encode;

const HEADER: &str = r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#;

fn token(header: &str, claims: &str) -> String {
    format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
}

fn refused(token: &str) -> Cause {
    Jws::parse(token).map(|_| ()).unwrap_err()
}

#[test]
fn a_token_comes_apart() {
    let token = token(HEADER, r#"{"sub":"alice","n":[1,-2,2.5,null,true]}"#);
    let jws = Jws::parse(&token).unwrap();
    assert_eq!(
        jws.header,
        Header { algorithm: "ES256".into(), key_id: Some("k".into()), kind: Some("at+jwt".into()) }
    );
    assert_eq!(Value::Object(jws.claims), serde_json::json!({"sub": "alice", "n": [1, -2, 2.5, null, true]}));
    assert_eq!(jws.signed, token.rsplit_once('.').unwrap().0.as_bytes());
    assert_eq!(jws.signature, b"signature");
}

#[test]
fn a14_other_spellings_of_a_token_are_refused() {
    let (h, c, s) = (encode(HEADER), encode("{}"), encode("signature"));
    let bad = [
        String::new(),
        "..".into(),
        format!("{h}.{c}"),
        format!("{h}.{c}."),
        format!(".{c}.{s}"),
        format!("{h}..{s}"),
        format!("{h}.{c}.{s}.{s}"),
        format!("{h}.{c}.{s}.{s}.{s}"),
        format!("{h}.{c}.{s}."),
        format!("{h}=.{c}.{s}"),
        format!("{h}.{c}=.{s}"),
        format!("{h}.{c}.{s}="),
        format!("{h} .{c}.{s}"),
        format!("{h}.{c}.{s}\n"),
        format!("{h}.\t{c}.{s}"),
        format!("{h}.{c}.{}", s.replace('c', "+")),
        format!("{h}.{c}./{s}"),
        format!("{h}.{c}.é{s}"),
        // Spare bits that are not zero: "AA" and "AB" would decode alike.
        format!("{h}.{c}.AB"),
        format!("{h}.{c}.A"),
        // JSON serialization (RFC 7515 section 7.2).
        format!(r#"{{"protected":"{h}","payload":"{c}","signature":"{s}"}}"#),
    ];
    for token in bad {
        assert_eq!(refused(&token), Cause::Malformed, "{token:?}");
    }
}

#[test]
fn a14_json_that_two_readers_would_read_differently_is_refused() {
    let headers = [
        "",
        "[]",
        "null",
        "7",
        "\"ES256\"",
        r#"{"alg":"ES256""#,
        r#"{"alg":"ES256"} {}"#,
        r#"{"alg":"ES256","alg":"none"}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","x":{"a":1,"a":2}}"#,
        r#"{"alg":"ES256","\u0061lg":"none"}"#,
        r#"{"alg":["ES256"]}"#,
        r#"{"alg":null}"#,
        r#"{"typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":7}"#,
        r#"{"alg":"ES256","typ":{}}"#,
        "\u{feff}{\"alg\":\"ES256\"}",
    ];
    for header in headers {
        assert_eq!(refused(&token(header, "{}")), Cause::Malformed, "{header}");
    }
    for claims in
        ["", "[]", "null", r#"{"sub":"a","sub":"b"}"#, r#"{"a":[{"b":1,"b":1}]}"#, "{\"sub\":\"\u{0}\"}"]
    {
        assert_eq!(refused(&token(HEADER, claims)), Cause::Malformed, "{claims}");
    }
    let not_utf8 = format!("{}.{}.{}", encode(HEADER), encode(b"{\"sub\":\"\xff\"}"), encode("s"));
    assert_eq!(refused(&not_utf8), Cause::Malformed);
}

#[test]
fn a13_extensions_that_must_be_understood_are_refused() {
    for header in [
        r#"{"alg":"ES256","crit":["exp"]}"#,
        r#"{"alg":"ES256","crit":[]}"#,
        r#"{"alg":"ES256","crit":null}"#,
        r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"ES256","b64":false}"#,
        r#"{"alg":"ES256","b64":true}"#,
    ] {
        assert_eq!(refused(&token(header, "{}")), Cause::Critical, "{header}");
    }
}

#[test]
fn a15_size_and_depth_are_bounded() {
    assert_eq!(refused(&"a".repeat(1024 * 1024)), Cause::Malformed);
    assert_eq!(
        refused(&token(HEADER, &format!("{{\"a\":\"{}\"}}", "x".repeat(BYTES_MAX)))),
        Cause::Malformed
    );
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(2500), "]".repeat(2500));
    let token_of_depth = token(HEADER, &deep);
    assert!(token_of_depth.len() <= BYTES_MAX);
    assert_eq!(refused(&token_of_depth), Cause::Malformed);
    // A5: a key id of any size is only compared, and this one not even that.
    let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
    assert_eq!(refused(&token(&long, "{}")), Cause::Malformed);
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        let _ = Jws::parse(&text);
    }

    #[test]
    fn any_parts_are_answered(
        header in prop::collection::vec(any::<u8>(), 0..60),
        claims in prop::collection::vec(any::<u8>(), 0..60),
        signature in prop::collection::vec(any::<u8>(), 0..70),
    ) {
        let _ = Jws::parse(&format!("{}.{}.{}", encode(header), encode(claims), encode(signature)));
    }

    #[test]
    fn no_two_texts_are_one_token(text in "[A-Za-z0-9_-]{1,8}") {
        if let Ok(bytes) = super::decoded(&text) {
            prop_assert_eq!(encode(bytes), text);
        }
    }
}
