//! Proofs as clients make them, and everything near to one.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

use super::*;
use crate::jwks::testing::{Signer, decode, encode};

const NOW_S: u64 = 1_800_000_000;
const TOKEN: [u8; 32] = [9; 32];

struct Scene {
    signer: Signer,
    rules: Rules,
    seen: Seen,
}

impl Scene {
    fn new() -> Self {
        let config = config::DPoP {
            origins: vec!["https://api.example".into(), "https://api.example:8443/".into()],
            window_s: 60,
            required: false,
        };
        let seen = Seen::default();
        seen.bound(1_000, 60);
        Self { signer: Signer::new("k"), rules: Rules::from(&config), seen }
    }

    fn key(&self) -> [u8; 32] {
        Key::from_jwk(self.signer.jwk()).unwrap().thumbprint()
    }

    fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.signer.jwk()})
    }

    fn claims(&self) -> Value {
        json!({"jti": uuid::Uuid::now_v7().to_string(), "htm": "POST", "iat": NOW_S,
               "htu": "https://api.example/v1/transfers", "ath": encode(TOKEN)})
    }

    /// A good proof with some of its header and claims changed.
    fn proof(&self, header: Value, claims: Value) -> String {
        let (mut all_header, mut all_claims) = (self.header(), self.claims());
        for (all, changes) in [(&mut all_header, header), (&mut all_claims, claims)] {
            let all = all.as_object_mut().unwrap();
            for (name, value) in changes.as_object().unwrap().clone() {
                if value.is_null() {
                    all.remove(&name);
                } else {
                    all.insert(name, value);
                }
            }
        }
        self.signer.token_with(&all_header, &all_claims)
    }

    fn check(&self, proofs: &[&str]) -> Result<(), Refusal> {
        self.check_at(proofs, &Method::POST, "/v1/transfers", NOW_S)
    }

    fn check_at(&self, proofs: &[&str], method: &Method, path: &str, now: u64) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for proof in proofs {
            headers.append(DPOP, HeaderValue::try_from(*proof).unwrap());
        }
        let uri: Uri = path.parse().unwrap();
        let asked = Asked { headers: &headers, method, uri: &uri };
        self.rules.check(asked, &TOKEN, &self.key(), &self.seen, UNIX_EPOCH + Duration::from_secs(now))
    }
}

fn refused(cause: ProofCause) -> Result<(), Refusal> {
    Err(cause.into())
}

#[test]
fn a_proof_holds_once() {
    let scene = Scene::new();
    let proof = scene.proof(json!({}), json!({}));
    assert_eq!(scene.check(&[&proof]), Ok(()));
    assert_eq!(scene.check(&[&proof]), refused(ProofCause::Replayed));
    assert_eq!(scene.check(&[&scene.proof(json!({}), json!({}))]), Ok(()), "the next request brings its own");
    assert_eq!(scene.check(&[]), refused(ProofCause::Header));
    let (one, two) = (scene.proof(json!({}), json!({})), scene.proof(json!({}), json!({})));
    assert_eq!(scene.check(&[&one, &two]), refused(ProofCause::Header));
    assert_eq!(scene.check(&[&one]), Ok(()), "what was refused was not taken");
}

#[test]
fn a_proof_is_for_one_method_one_url_and_one_token() {
    let scene = Scene::new();
    let check = |claims: Value, expect: Result<(), Refusal>| {
        assert_eq!(scene.check(&[&scene.proof(json!({}), claims.clone())]), expect, "{claims}");
    };
    for good in [
        "https://api.example/v1/transfers?page=2",
        "https://api.example/v1/transfers#top",
        "https://api.example:443/v1/transfers",
        "https://API.example:8443/v1/transfers",
        "HTTPS://api.example/v1/%74ransfers",
    ] {
        check(json!({ "htu": good }), Ok(()));
    }
    for other in [
        "http://api.example/v1/transfers",
        "https://api.example:444/v1/transfers",
        "https://evil.example/v1/transfers",
        "https://api.example.evil/v1/transfers",
        "https://api.example@evil.example/v1/transfers",
        "https://evil@api.example/v1/transfers",
        "https://api.example/v1/transfers/",
        "https://api.example/v1/Transfers",
        "https://api.example/v1%2Ftransfers",
        "https://api.example",
        "/v1/transfers",
        "",
    ] {
        check(json!({ "htu": other }), refused(ProofCause::Target));
    }
    for other in ["GET", "post", ""] {
        check(json!({ "htm": other }), refused(ProofCause::Target));
    }
    for other in [encode([8; 32]), String::new(), format!("{}=", encode(TOKEN))] {
        check(json!({ "ath": other }), refused(ProofCause::Token));
    }
    for name in ["htm", "htu", "ath", "jti", "iat"] {
        check(json!({ (name): null }), refused(ProofCause::Claim));
        check(json!({ (name): [] }), refused(ProofCause::Claim));
    }
    check(json!({"jti": ""}), refused(ProofCause::Claim));
    check(json!({"jti": "x".repeat(257)}), refused(ProofCause::Claim));
    check(json!({"iat": NOW_S as f64 + 0.5}), refused(ProofCause::Claim));
}

#[test]
fn a_proof_is_good_for_its_window() {
    let scene = Scene::new();
    for (made, expect) in [
        (NOW_S - 60, Ok(())),
        (NOW_S - 61, refused(ProofCause::Time)),
        (NOW_S + 60, Ok(())),
        (NOW_S + 61, refused(ProofCause::Time)),
        (0, refused(ProofCause::Time)),
        (u64::MAX, refused(ProofCause::Time)),
    ] {
        assert_eq!(scene.check(&[&scene.proof(json!({}), json!({"iat": made}))]), expect, "{made}");
    }
}

#[test]
fn a_proof_is_signed_with_the_key_the_token_names_and_by_nothing_weaker() {
    let scene = Scene::new();
    let check = |header: Value, expect: ProofCause| {
        assert_eq!(scene.check(&[&scene.proof(header.clone(), json!({}))]), refused(expect), "{header}");
    };
    for kind in [Value::Null, json!("at+jwt"), json!("JWT"), json!("dpop+jwt ")] {
        check(json!({ "typ": kind }), ProofCause::Type);
    }
    for algorithm in ["none", "HS256", "RS256", "PS256", "ES512", "es256"] {
        check(json!({ "alg": algorithm }), ProofCause::Key);
    }
    check(json!({"alg": "ES384"}), ProofCause::Key);
    check(json!({"jwk": null}), ProofCause::Key);
    check(json!({"jwk": {"kty": "oct", "k": "AAAA"}}), ProofCause::Key);
    let mut private = scene.signer.jwk();
    private["d"] = json!(encode([1; 32]));
    check(json!({ "jwk": private }), ProofCause::Key);
    let thief = Signer::new("k");
    check(json!({"jwk": thief.jwk()}), ProofCause::Binding);
    check(json!({"jku": "https://evil.example/keys", "jwk": thief.jwk()}), ProofCause::Binding);
    check(json!({"crit": ["exp"]}), ProofCause::Malformed);
    // The right key in the header, and another one behind the signature.
    let forged = thief.token_with(&scene.header(), &scene.claims());
    assert_eq!(scene.check(&[&forged]), refused(ProofCause::Signature));
    let proof = scene.proof(json!({}), json!({}));
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let mut changed = decode(signature);
    changed[63] ^= 1;
    assert_eq!(scene.check(&[&format!("{signed}.{}", encode(changed))]), refused(ProofCause::Signature));
    assert_eq!(scene.check(&["a.b.c"]), refused(ProofCause::Malformed));
    assert_eq!(scene.check(&[&proof]), Ok(()), "none of the forgeries used it up");
}

#[test]
fn a_thumbprint_is_that_of_rfc_7638() {
    // RFC 7638 section 3.1.
    let rsa = json!({"kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB", "n":
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
         hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQv\
         RL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnq\
         DKgw"});
    let thumbprint = Key::from_jwk(rsa).unwrap().thumbprint();
    assert_eq!(encode(thumbprint), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 8037 appendix A.3.
    let ed = json!({"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let thumbprint = Key::from_jwk(ed).unwrap().thumbprint();
    assert_eq!(encode(thumbprint), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // RFC 9449 section 6.1: the key of figure 1 and the thumbprint of figure 7.
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"});
    let thumbprint = Key::from_jwk(ec).unwrap().thumbprint();
    assert_eq!(encode(thumbprint), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn a_path_has_one_spelling() {
    for (path, expect) in [
        ("/a%2fb", "/a%2Fb"),
        ("/%7euser", "/~user"),
        ("/%41", "/A"),
        ("/%", "/%"),
        ("/%zz%4", "/%zz%4"),
        ("/%é", "/%é"),
        ("/%e2%82%ac", "/%E2%82%AC"),
    ] {
        assert_eq!(normalised(path), expect);
    }
}
