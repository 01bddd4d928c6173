//! Tokens that nobody issued, one row of the list of attacks after another: each is refused for what is wrong with it, without a
//! look at what it points to.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::jwks::testing::{Answer, decode, encode};

/// What somebody without the issuer's key has: a key of their own under the same id.
struct Attack {
    scene: Scene,
    thief: Signer,
}

impl Attack {
    async fn new() -> Self {
        Self { scene: Scene::new().await, thief: Signer::new("k") }
    }

    /// A token signed by the thief, with a header that says more.
    fn forged(&self, changes: &Value) -> String {
        let mut header = self.thief.header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.thief.token_with(&header, &claims())
    }

    async fn check(&self, token: &str, expect: Cause) {
        assert_eq!(cause(self.scene.public(token).await), expect, "{token:.100}");
    }
}

#[tokio::test]
async fn a1_a_token_that_nobody_signed_is_refused() {
    let attack = Attack::new().await;
    for none in ["none", "None", "NONE", "nOnE"] {
        let header = json!({"alg": none, "typ": "at+jwt", "kid": "k"}).to_string();
        let unsigned = format!("{}.{}.", encode(header), encode(claims().to_string()));
        attack.check(&unsigned, Cause::Malformed).await;
        attack.check(&format!("{unsigned}AAAA"), Cause::Algorithm).await;
        // With a signature that holds, under an algorithm that is none.
        attack.check(&attack.forged(&json!({ "alg": none })), Cause::Algorithm).await;
    }
    attack.check(&attack.forged(&json!({})), Cause::Signature).await;
}

#[tokio::test]
async fn a2_the_public_key_is_no_secret_of_an_hmac() {
    /// SubjectPublicKeyInfo of a P-256 key, up to the point (RFC 5480).
    const SPKI: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let attack = Attack::new().await;
    let point = attack.scene.signer.point();
    let der = [&SPKI[..], point].concat();
    let text = STANDARD.encode(&der);
    let (first, second) = text.split_at(64);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----");
    let pem_and_newline = format!("{pem}\n");
    for secret in [point, &der, pem.as_bytes(), pem_and_newline.as_bytes()] {
        for (name, algorithm) in [
            ("HS256", ring::hmac::HMAC_SHA256),
            ("HS384", ring::hmac::HMAC_SHA384),
            ("HS512", ring::hmac::HMAC_SHA512),
            // The key's own algorithm by name, and a HMAC by making.
            ("ES256", ring::hmac::HMAC_SHA512),
        ] {
            let header = json!({"alg": name, "typ": "at+jwt", "kid": "k"}).to_string();
            let signed = format!("{}.{}", encode(header), encode(claims().to_string()));
            let tag = ring::hmac::sign(&ring::hmac::Key::new(algorithm, secret), signed.as_bytes());
            let expect = if name == "ES256" { Cause::Signature } else { Cause::Algorithm };
            attack.check(&format!("{signed}.{}", encode(tag)), expect).await;
        }
    }
}

#[tokio::test]
async fn a3_a_key_that_a_token_brings_along_is_not_looked_at() {
    let attack = Attack::new().await;
    let jwk = attack.thief.jwk();
    attack.check(&attack.forged(&json!({ "jwk": jwk })), Cause::Signature).await;
    attack.check(&attack.forged(&json!({"jwk": jwk, "kid": "new"})), Cause::Key).await;
    attack.check(&attack.forged(&json!({"jwk": jwk, "x5c": ["AAAA"]})), Cause::Signature).await;
    // Nor does it harm a token that is good.
    let mut header = attack.scene.signer.header();
    header["jwk"] = jwk;
    assert!(attack.scene.public(&attack.scene.signer.token_with(&header, &claims())).await.is_ok());
}

#[tokio::test]
async fn a4_nobody_is_asked_whom_a_token_names() {
    let attack = Attack::new().await;
    let server = Server::start(&Drain::default()).await;
    server.set("/keys", Answer::Body(key_set(&[&attack.thief])));
    let url = server.url("/keys");
    for header in [
        json!({"jku": url}),
        json!({"jku": url, "kid": "new"}),
        json!({"x5u": url}),
        json!({"x5u": url, "jku": url, "kid": url}),
        json!({"kid": url}),
    ] {
        let named = header.get("kid").is_some();
        attack.check(&attack.forged(&header), if named { Cause::Key } else { Cause::Signature }).await;
    }
    let mut elsewhere = claims();
    elsewhere["iss"] = json!(url);
    attack.check(&attack.thief.token(&elsewhere), Cause::Issuer).await;
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a5_a_key_id_opens_no_file() {
    let attack = Attack::new().await;
    // Whoever opened a pipe for reading would wait for somebody to write into it, and the test would not end.
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let climbing = format!("../../../../../../../../../..{pipe}");
    let judged = async {
        for id in [
            pipe,
            &climbing,
            &format!("file://{pipe}"),
            &format!("{pipe}\0"),
            "../../dev/null",
            "/proc/sys/kernel/randomize_va_space",
            "k' OR '1'='1",
            "k\0",
            "",
        ] {
            attack.check(&attack.forged(&json!({ "kid": id })), Cause::Key).await;
        }
        // Longer than an id may be, and than a token may be.
        for length in [257, 65_536] {
            attack.check(&attack.forged(&json!({"kid": "k".repeat(length)})), Cause::Malformed).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), judged).await.unwrap();
}

#[tokio::test]
async fn a6_an_unknown_kid_storm_asks_the_issuer_once() {
    let server = Server::start(&Drain::default()).await;
    let signer = Signer::new("k");
    server.set("/keys", Answer::Body(key_set(&[&signer])));
    let authenticator = start(Source {
        url: Some(server.url("/keys")),
        refresh_s: 3600,
        cooldown_s: 3600,
        deadline_ms: 5000,
        stale_s: 3600,
        ..Source::default()
    })
    .await;
    let storm = (0..300).map(|nth| {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("invented-{nth}")});
        let (authenticator, headers) = (&authenticator, bearer(&signer.token_with(&header, &claims())));
        async move {
            let memory = Memory::default();
            authenticator.authenticate(Listener::Public, None, &memory, get(&headers), instant()).await
        }
    });
    for refused in futures::future::join_all(storm).await {
        assert_eq!(cause(refused), Cause::Key);
    }
    assert_eq!(server.asked(), 1, "at the start, and in the cool-down no more");
}

#[tokio::test]
async fn a9_a_key_for_another_end_signs_no_tokens() {
    let server = Server::start(&Drain::default()).await;
    let (signing, other) = (Signer::new("signing"), Signer::new("other"));
    let jwk = |change: Value| {
        let mut jwk = other.jwk();
        jwk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"keys": [signing.jwk(), jwk]}).to_string()
    };
    for change in [
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": ["encrypt", "wrapKey"]}),
        json!({"alg": "ES384"}),
        json!({"alg": "ECDH-ES"}),
    ] {
        server.set("/keys", Answer::Body(jwk(change.clone())));
        let url = Some(server.url("/keys"));
        let times = Source {
            refresh_s: 3600,
            cooldown_s: 3600,
            deadline_ms: 5000,
            stale_s: 3600,
            ..Source::default()
        };
        let authenticator = start(Source { url, ..times }).await;
        let of = async |signer: &Signer| {
            let (headers, memory) = (bearer(&signer.token(&claims())), Memory::default());
            authenticator.authenticate(Listener::Public, None, &memory, get(&headers), instant()).await
        };
        assert!(of(&signing).await.is_ok(), "{change}");
        assert_eq!(cause(of(&other).await), Cause::Key, "{change}");
    }
}

#[tokio::test]
async fn a13_a_token_that_demands_what_nobody_knows_is_refused_though_its_signature_holds() {
    let scene = Scene::new().await;
    for demand in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"b64": false, "crit": ["b64"]}),
        json!({"b64": false}),
    ] {
        let mut header = scene.signer.header();
        header.as_object_mut().unwrap().extend(demand.as_object().unwrap().clone());
        let token = scene.signer.token_with(&header, &claims());
        assert_eq!(cause(scene.public(&token).await), Cause::Critical, "{demand}");
    }
}

#[tokio::test]
async fn a14_another_spelling_of_a_good_token_is_no_token() {
    let scene = Scene::new().await;
    let good = scene.signer.token(&claims());
    assert!(scene.public(&good).await.is_ok());
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{good}") };
    // The last character carries spare bits: another one that decodes to the same bytes.
    let spare = format!("{}{}", &good[..good.len() - 1], char::from(good.as_bytes()[good.len() - 1] + 1));
    for other in [
        format!("{header}.{payload}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{good}="),
        format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#),
        spare,
    ] {
        // A comma already makes it no header of one token.
        let expect = if other.contains(',') { Cause::Header } else { Cause::Malformed };
        assert_eq!(cause(scene.public(&other).await), expect, "{other}");
    }
    // Signed as they are, and read differently by two readers.
    for twice in [r#"{"iss":"https://issuer","iss":"https://other"}"#, r#"{"sub":"alice","\u0073ub":"bob"}"#]
    {
        let token = scene.signer.sign(&format!("{header}.{}", encode(twice)));
        assert_eq!(cause(scene.public(&token).await), Cause::Malformed, "{twice}");
    }
}

#[tokio::test]
async fn a15_what_is_too_large_too_deep_or_compressed_costs_next_to_nothing() {
    let scene = Scene::new().await;
    let header = encode(r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#);
    let deep = encode(format!("{{\"a\":{}{}}}", "[".repeat(8_000), "]".repeat(8_000)));
    let zip = encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}"#);
    let hostile = [
        scene.signer.sign(&format!("{header}.{}", "A".repeat(1024 * 1024))),
        scene.signer.sign(&format!("{header}.{deep}")),
        "A".repeat(1024 * 1024),
        ".".repeat(1024 * 1024),
        // A JWE: nothing of it is decrypted, so nothing is inflated.
        format!("{zip}.{}.{}.{}.{}", "A".repeat(342), "A".repeat(16), "A".repeat(4_000), "A".repeat(22)),
    ];
    let since = Instant::now();
    for token in &hostile {
        for _ in 0..20 {
            assert_eq!(cause(scene.public(token).await), Cause::Malformed);
        }
    }
    // A hundred of them, most of a mebibyte, in a build without optimisation and beside whatever else the machine does.
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a7_a_bit_more_or_less_is_another_token() {
    let scene = Scene::new().await;
    let token = scene.signer.token(&claims());
    assert!(scene.public(&token).await.is_ok());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = decode(signature);
    for at in [0, 31, 32, 63] {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        assert_eq!(cause(scene.public(&format!("{signed}.{}", encode(changed))).await), Cause::Signature);
    }
    for changed in [vec![0; 64], [&signature[..], &[0]].concat(), signature[..63].to_vec()] {
        assert_eq!(cause(scene.public(&format!("{signed}.{}", encode(changed))).await), Cause::Signature);
    }
    let other = scene.signer.token(&json!({"iss": "https://other"}));
    assert_eq!(cause(scene.public(&other).await), Cause::Issuer);
    let stitched = format!("{}.{}", other.rsplit_once('.').unwrap().0, encode(signature));
    assert_eq!(cause(scene.public(&stitched).await), Cause::Issuer);
}
