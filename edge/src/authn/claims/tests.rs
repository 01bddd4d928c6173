//! The rows A10, A11 and A12, and what becomes of the claims that name somebody.

use serde_json::json;

use super::*;
use crate::jwks::Source;

const NOW: u64 = 1_800_000_000;

fn rules() -> Rules {
    Rules::from(&Issuer {
        issuer: "https://issuer".into(),
        audiences: vec!["https://api".into(), "urn:mesh".into()],
        algorithms: vec![Algorithm::Es256, Algorithm::Ps256],
        typ: vec!["at+jwt".into()],
        jwks: Some(Source::default()),
        customer_claim: "customer_id".into(),
        scope_claim: "scope".into(),
        leeway_s: 30,
        lifetime_s_max: 3600,
        required_claims: Vec::new(),
        introspection: None,
        dpop: None,
    })
}

/// Good claims with some changed; null takes one away.
fn claims(changes: Value) -> Map<String, Value> {
    let good = json!({
        "iss": "https://issuer", "sub": "alice", "aud": "https://api", "exp": NOW + 600, "iat": NOW - 60,
        "customer_id": "c-1", "scope": "accounts.read payments.write",
    });
    let mut claims = good.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn verify(changes: Value) -> Result<Verified, Refusal> {
    rules().verify(&claims(changes), UNIX_EPOCH + Duration::from_secs(NOW))
}

fn refused(cause: Cause) -> Result<(), Refusal> {
    Err(cause.into())
}

#[test]
fn good_claims_name_a_subject() {
    let verified = verify(json!({})).unwrap();
    assert_eq!(
        verified.subject,
        Subject {
            issuer: "https://issuer".into(),
            id: "alice".into(),
            customer_id: Some("c-1".into()),
            scopes: ["accounts.read".to_owned(), "payments.write".to_owned()].into(),
        }
    );
    assert_eq!(verified.expires_at, UNIX_EPOCH + Duration::from_secs(NOW + 630));
    assert_eq!(verified.binding, Binding::None);
}

#[test]
fn a10_times() {
    let check = |changes: Value, expect: Result<(), Refusal>| {
        assert_eq!(verify(changes.clone()).map(|_| ()), expect, "{changes}");
    };
    let expired = || Err(Refusal::TokenExpired);
    check(json!({"exp": NOW - 1}), Ok(()));
    check(json!({"exp": NOW - 29}), Ok(()));
    check(json!({"exp": NOW - 30}), expired());
    check(json!({"exp": 0}), expired());
    check(json!({"nbf": NOW + 30}), Ok(()));
    check(json!({"nbf": NOW + 31}), refused(Cause::NotYet));
    check(json!({"iat": NOW + 30}), Ok(()));
    check(json!({"iat": NOW + 31}), refused(Cause::NotYet));
    check(json!({"iat": NOW - 3000}), Ok(()));
    check(json!({"iat": NOW - 3001}), refused(Cause::Lifetime));
    check(json!({"iat": null, "exp": NOW + 3600}), Ok(()));
    check(json!({"iat": null, "exp": NOW + 3601}), refused(Cause::Lifetime));
    check(json!({"exp": 253_402_300_799_u64}), refused(Cause::Lifetime));
    check(json!({"exp": null}), refused(Cause::Claim));
    for name in ["exp", "nbf", "iat"] {
        let good = NOW + 1;
        for bad in [
            json!(good.to_string()),
            json!(good as f64 + 0.5),
            json!(1e300),
            json!(-1),
            json!(u64::MAX),
            json!(1_u64 << 63),
            json!(253_402_300_800_u64),
            json!(true),
            json!([good]),
            json!({"at": good}),
        ] {
            check(json!({ (name): bad }), refused(Cause::Claim));
        }
    }
}

#[test]
fn a_clock_before_1970_lets_nothing_in_that_is_not_yet_valid() {
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(rules().verify(&claims(json!({})), before).unwrap_err(), Cause::NotYet.into());
}

#[test]
fn a11_audience_and_issuer() {
    let check = |audience: Value, ours: bool| {
        let expect = if ours { Ok(()) } else { refused(Cause::Audience) };
        assert_eq!(verify(json!({ "aud": audience })).map(|_| ()), expect, "{audience}");
    };
    check(json!("https://api"), true);
    check(json!(["other", "urn:mesh"]), true);
    for other in [
        json!("https://api/"),
        json!("HTTPS://API"),
        json!("https://api other"),
        json!("https://ap"),
        json!(["other"]),
        json!([]),
        json!([["https://api"]]),
        json!({"https://api": true}),
        json!(""),
        json!(7),
        Value::Null,
    ] {
        check(other, false);
    }
    assert!(rules().issued(&claims(json!({}))));
    for other in
        [json!("https://issuer/"), json!("https://ISSUER"), json!(["https://issuer"]), json!(""), Value::Null]
    {
        assert!(!rules().issued(&claims(json!({ "iss": other }))), "{other}");
    }
}

#[test]
fn a12_a_token_of_another_kind_is_no_access_token() {
    let check = |kind: Option<&str>, algorithm: &str, expect: Result<Algorithm, Cause>| {
        let header = Header { algorithm: algorithm.into(), key_id: None, kind: kind.map(str::to_owned) };
        assert_eq!(rules().head(&header), expect, "{header:?}");
    };
    check(Some("at+jwt"), "ES256", Ok(Algorithm::Es256));
    check(Some("application/at+jwt"), "PS256", Ok(Algorithm::Ps256));
    check(Some("AT+JWT"), "ES256", Ok(Algorithm::Es256));
    for kind in [
        None,
        Some(""),
        Some("JWT"),
        Some("logout+jwt"),
        Some("dpop+jwt"),
        Some("text/at+jwt"),
        Some("at+jwt "),
    ] {
        check(kind, "ES256", Err(Cause::Type));
    }
    // A1 and A2: none, HMAC, and everything the issuer does not use.
    for algorithm in [
        "none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "RS256", "ES384", "EdDSA", "es256",
        "ES256 ", "",
    ] {
        check(Some("at+jwt"), algorithm, Err(Cause::Algorithm));
    }
}

#[test]
fn names_are_strings_without_tricks() {
    for name in ["sub", "customer_id"] {
        for bad in [
            json!(""),
            json!("a\nb"),
            json!("a\u{0}"),
            json!("a\u{85}"),
            json!("a".repeat(257)),
            json!(7),
            json!(["a"]),
        ] {
            assert_eq!(verify(json!({ (name): bad })).unwrap_err(), Cause::Claim.into(), "{name} {bad}");
        }
    }
    assert_eq!(verify(json!({"sub": null})).unwrap_err(), Cause::Claim.into());
    assert_eq!(verify(json!({"customer_id": null})).unwrap().subject.customer_id, None);
}

#[test]
fn scopes_are_words_or_a_list_of_words() {
    let check = |claim: Value, expect: Option<&[&str]>| {
        let scopes = verify(json!({ "scope": claim })).map(|verified| verified.subject.scopes);
        let expect = expect.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Scopes>());
        assert_eq!(scopes.ok(), expect, "{claim}");
    };
    check(Value::Null, Some(&[]));
    check(json!(""), Some(&[]));
    check(json!("a  b "), Some(&["a", "b"]));
    check(json!(["a", "b"]), Some(&["a", "b"]));
    check(json!(["a b"]), None);
    check(json!([""]), None);
    check(json!(["a", 7]), None);
    check(json!("a\tb"), None);
    check(json!("a\"b"), None);
    check(json!("é"), None);
    check(json!({"a": true}), None);
    check(json!(vec!["a"; 129]), None);
}

#[test]
fn a_claim_that_is_required_must_be_there_and_be_one_of_the_values() {
    let check = |values: &[&str], claim: Value, met: bool| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let required = vec![RequiredClaim { claim: "client_id".into(), values }];
        let rules = Rules { required, ..rules() };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let verified = rules.verify(&claims(json!({ "client_id": claim })), now).map(|_| ());
        assert_eq!(verified, if met { Ok(()) } else { refused(Cause::Claim) }, "{claim}");
    };
    check(&[], json!("anything"), true);
    check(&[], json!(0), true);
    check(&[], Value::Null, false);
    check(&["web", "app"], json!("app"), true);
    check(&["web", "app"], json!(["other", "web"]), true);
    for other in
        [json!("App"), json!("web app"), json!(""), json!([]), json!([["web"]]), json!(7), Value::Null]
    {
        check(&["web", "app"], other, false);
    }
}

#[test]
fn a_binding_that_cannot_be_proven_is_not_ignored() {
    let key = URL_SAFE_NO_PAD.encode([7; 32]);
    let check = |(keys_bind, must_bind), confirmation: Value, expect: Result<Binding, Refusal>| {
        let rules = Rules { keys_bind, must_bind, ..rules() };
        let claims = claims(json!({ "cnf": confirmation }));
        let verified = rules.verify(&claims, UNIX_EPOCH + Duration::from_secs(NOW));
        assert_eq!(
            verified.map(|verified| verified.binding),
            expect,
            "{confirmation} {keys_bind} {must_bind}"
        );
    };
    let certificate = || json!({"x5t#S256": key});
    check((false, false), Value::Null, Ok(Binding::None));
    check((true, true), Value::Null, Err(Cause::Binding.into()));
    check((true, true), certificate(), Ok(Binding::Certificate([7; 32])));
    check((false, false), certificate(), Ok(Binding::Certificate([7; 32])));
    check((true, false), json!({"jkt": key}), Ok(Binding::Key([7; 32])));
    check((false, false), json!({"jkt": key}), Err(Cause::Binding.into()));
    for unproven in
        [json!({"jwk": {}}), json!({"x5t#S256": key, "jkt": key}), json!({}), json!({"x5t#S256": 7})]
    {
        check((true, false), unproven, Err(Cause::Binding.into()));
    }
    for malformed in [
        json!("x"),
        json!([]),
        json!({"x5t#S256": "AAAA"}),
        json!({"x5t#S256": format!("{key}=")}),
        json!({"jkt": "AAAA"}),
    ] {
        check((true, false), malformed, Err(Cause::Claim.into()));
    }
}

#[test]
fn what_an_issuer_answers_is_judged_like_a_token() {
    let check = |changes: Value, expect: Result<(), Refusal>| {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let answered = rules().answered(&claims(changes.clone()), now);
        assert_eq!(answered.map(|_| ()), expect, "{changes}");
    };
    check(json!({"active": true}), Ok(()));
    check(json!({"active": true, "iss": null}), Ok(()));
    check(json!({"active": false}), refused(Cause::Inactive));
    for nonsense in [Value::Null, json!("true"), json!(1)] {
        check(json!({ "active": nonsense }), Err(Refusal::IssuerUnavailable));
    }
    check(json!({"active": true, "iss": "https://other"}), refused(Cause::Issuer));
    check(json!({"active": true, "aud": null}), refused(Cause::Audience));
    check(json!({"active": true, "exp": null}), refused(Cause::Claim));
    check(json!({"active": true, "exp": NOW - 30}), Err(Refusal::TokenExpired));
    check(json!({"active": true, "sub": null}), refused(Cause::Claim));
}
