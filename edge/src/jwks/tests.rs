//! Keys, key sets and their sources: what is used, what is left aside, and how little a hostile or broken source can do.

mod wycheproof;

use std::sync::Arc;
use std::time::Duration;

use chassis::drain::Drain;
use serde_json::{Value, json};

use super::fetch::FetchError;
use super::key::{Key, Unusable};
use super::set::{KeySet, SetError};
use super::testing::{Answer, Server, Signer, decode, encode, key_set};
use super::*;

// Signatures over "header.claims", made with OpenSSL.
const RSA_N: &str = "rNzvLe5Go1bE0X9l2Fp-gaBw_U1tJ_vuVna2L3MHl_VGhyMjEbI2MADN5F3Ys-OESRjNXyezS41X0Tqt6Cbf1gHGGEX3mX7AbQ7y0FYbw6Y18bwNbYV6UM8EvKvEYBkek7aal9ZiTHS7XC4cP_0Tjv9Q4METEcBAR6uDGs1HKtkO4wv_wGkf7OLDTHIjV7Ghy43kZRzl0Ji4oCo2NvitB6hA3So3JsG92W6rMmgzSeEAaA8AanvkfGsXy6KGvOZbDPoMGjb5hioDz_ZLtqIrMgogAPo8vwGamdZh2_sOrCpibas28HNAvaBCVnNtCkLrEQz5Y23brGrqNGdS_GAxGw";
const RSA_1024_N: &str = "zCewAV8XGRzQgXiE4uBSXCLsbEqcaECM-Kuzt8iOw1lnCIbneKujEGjhzkyuu4BmJgbZNsE9MZdlrZjYEAatzQdbfGxCHqDF_pK2xxO_8dPKpPOnV2-xlzsP1_Vyg5IqjX7OztSCM88J753w9KyJCStjvSePY9Q9j33n5MRKk2s";
const RS256: &str = "c6CeCTxRBeo7cK27wntzjcWOFZfZ43micweIcUnAMg7pWX9RcUUsKYRH4s2-3BhODzxgsqM8I_dmXt5tGBLhovon4ixrrJEMLbkMTVvZZn9M8uQ7rOmpAozKrb8k3DYiP19ezyjUVcRWbd-DtSNmhhRAT-FJCm3-qDYPdEFCnXLmcmdPqvM_WP6GGMjJUi3EV7ec1_so5tAdKrqpwhiJWXcVpurn4BT8XcZjv3ktqkvgL1zi1voh7UMcZTv4q-c96bWvvvUbqIhZstigWw7VQNx5Zl6Y_6Y6JvFwqYffZV1ye8IlKOB3ainnk_KKMHF2BUpYVHdOLm9DDblgzR4sTA";
const RS384: &str = "OAu8AE5akXhGO8qB_NnpbZcFc6GessMofbPe8g-jA4rk_xSOByv6HVfkVidoDdU1dusWbFXt29Ikb58_JFIhbinVAj11FAyoMTXN9sTHmoXeKY0HM3n5oY7pnyRcWAzsnFQIxtbJTcCB-iC3RThs1BqMOaWRit5eXr642nO5g0hxEtRWT9Koj6rYcKGS3ziyh9mNzdJ2olsfx5tc9G9vXoAtg8lslMQcTCMcNOvpVo4JTwMHN-2WEZ7v1ylKZSylNr38V9TcHzX5No5Qs-HH_vkYFLdmkB8R7Qgf8eQ5W2XqKgHgoXNpEX9HDN9LjOz5lhnasPb80JfL-E4pZ253Dw";
const RS512: &str = "HVxgDM9zS231QVOslnp9adHyX3edXcat9cD-R-vVQMhfFc6ebXSTKyxL30lw00J6v2d9jDdyeSqSCYoHHf8l-VhCjDVLEqYw3q1BXq3xkQ660emsJ4Iy1MAvk-CAuMC0qR3U_VWP0rsk-qjGWGzxMuBFWiZ35KsCQ_t_nVYUZq22k34-PdeILUThP2kn1B5tkZQwf-qr0xqWMiXKDx_AZ9tXynnx7a8dLXQ8e99JW8ZgRE6aVhG5BKyC8v9P9ohihy98f7x8txuRKis0KElGQlfCsHxjN5-qx9JMCGcbLtadQKnN6lfR4t5YwBkXSo4y1maJ3VsgCW0uI1rwdOOjlQ";
const PS256: &str = "I6Lgs7_fK7Yv_edJUpXsfhrCRqfn6Hbek01DelvA2YYiqwhh1k_DDz981rlKMk78Je1FVbDpQw8rjo0F0yDsfPUITaVw4jxhXVRYrDznhbbBMfRgRvjAvscDXV6oVse836H4wfY61fN7WdjoopSrl3kstAqp8GqVyEW33aResXMRllJ4bRlQPDMjVZFf_Y27BrOT1z58g8vzdGLIgzme9wOV2c056JlsQuaiN_QvuPXE5izsmEqjc9wUX0oYb-wBK_JcA8V2hQScE96392MSCnB8jEuD5uuNOS5cvE39uROomm8Q7bmAR_0cjCfawk8NeDG5SbYz0B-U48m0HlPoyg";
const PS384: &str = "CG24ZXUoumdgZPNEfeh29oGquCi9ZLq7-S4Bh_s5-Ys0WURuBYpt76t5whzq9j6Dwit2hGQp1KEFZSMg2_5lVrqihVM9DhJyr_v3Igm_XYxFKyTPfyyVIC8g6ZL8ohWQn_qnqJAZutO5YySUWfMF4pRBzFU9jCucaJzzlHZtJZH-Nvql3IzHtCkJYfAFWWYAnHwqCr1bxOW50pHErNuRj-Ha6pOY7PFhZOuSR2SH5ARPGnb0g50mzR2gTua1C3mII40uwxee1KKGmhwPEIe46A-BqhYxVksl8MbhrJ4-VwpAa2tuxJSxke6ZMPKEuNAlvjuJzpDy-suIbGvWSMvBLQ";
const PS512: &str = "mg2ibueKRHjtrfXI3gDygrsKuWl0UFdmnr_VETiLzZGQockyP4NekSfSymJdxKYP-GVA6K8NKJG-6duCe3BNK00o9yLINSJsEBV4QJAdJL3qBK78v-YyJ6rVO8OVoDzrq83baIqbjJe_9ym7NIbOoHuPqRkKyY9CkmnyRhegh3mN2-bcUdvBVlhNThBimXdVguwuUhAtlHkKqGx7DlTGWrdw3oLWRJvlaU63N-1iViBQIHXgG0d8ClM77rfviTORhs9jX5PfbWJJTXUKns0x7N0VCxnEWHZAesc0FiZLLPZyiQUYihvp6A6x9pT_2jHmHz3F5pz1lJryNKRBFYexBg";
const PS256SALT20: &str = "U7daQOKqr3s-Lsx60chuc9YPgkDbYfEvpihqGA4_ELlAS9xRj078ouEedZ0yDYTYmW4VpmbRn2IZG95I1i04HdaRuN7sajAq2F7peWTjnHqIy_yAedEeqrXebfkZhcyC-OXyV7-7EQoxA8BbGt02x6q7ewPUntGTrUeaT5BeaLFg_DIwsDrpkwTWg1J70praN2ALjDeCd32gaMylpoaav1U5f1CDpdjxYr5zc9g-l4znXwOC_SJiY2AX6L5DRU1XbibS954obeLwYbbtcTJnWsvIxq_AM3BHcExsjG_wgHDHYAHHtRgxdnt48oGIFwIkIWm0z-07kD407mdL1dzZTQ";
const EDDSA: &str = "mz_LUmbqvZoE7fJIkPnzm5K9ywGN1t4l0BaGxEOCovu35NXFpgk0utUUiL7e0JRA2aHdq1PAc4AwwPygYutzAQ";
const ES384: &str = "YZY6Wh0eI0mE-Mx0P_xoDxcLpMWXN6F4q_Hvb7ACnEYol2RqQKxnmg8bcgiYQ-5PcyTZyTMPhZlJGr3SOblsjBVn0IcCMnsX-bI87mXOcwa2bZDceBaiInVMRibo65tp";
const P384_X: &str = "K89VsiJa9WuprHJqh_uEbrFXj6crlYSDgvhfnXFiPOZJN6ZnNbPrGV3LpFTdfLyv";
const P384_Y: &str = "Eb6aEyJ-2reb5ccn4s4-LyFHMghrRexAOu-_xxVKH5_dIpH_BS4_tWB3AmogJKVz";
const ED_X: &str = "LDQ3X5-Z8JVu7wvmjnmlLsWci-ZLLbAdLZuWKDqhY2E";

const SIGNED: &[u8] = b"header.claims";

fn rsa() -> Value {
    json!({"kty": "RSA", "kid": "r", "n": RSA_N, "e": "AQAB"})
}

fn parse(keys: &Value) -> (Result<KeySet, SetError>, Vec<Unusable>) {
    let mut aside = Vec::new();
    let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), |_, why| aside.push(why));
    (set, aside)
}

fn key(set: &KeySet, id: &str, algorithm: Algorithm) -> Key {
    let Found::Key(key) = set.find(Some(id), algorithm) else { panic!("{id} {algorithm:?}") };
    key.clone()
}

#[test]
fn a9_an_rsa_key_verifies_each_signature_under_its_own_algorithm_only() {
    use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let (set, _) = parse(&json!([rsa()]));
    let key = key(&set.unwrap(), "r", Rs256);
    let signatures =
        [(Rs256, RS256), (Rs384, RS384), (Rs512, RS512), (Ps256, PS256), (Ps384, PS384), (Ps512, PS512)];
    for (algorithm, _) in signatures {
        for (made_with, signature) in signatures {
            let verified = key.verifies(algorithm, SIGNED, &decode(signature));
            assert_eq!(verified, algorithm == made_with, "{made_with:?} as {algorithm:?}");
        }
    }
    assert!(!key.verifies(Rs256, b"header.claimz", &decode(RS256)));
    // RFC 7518 section 3.5: the salt is as long as the hash.
    assert!(!key.verifies(Ps256, SIGNED, &decode(PS256SALT20)));
}

#[test]
fn elliptic_curve_keys_verify() {
    let (set, _) = parse(&json!([
        {"kty": "EC", "crv": "P-384", "kid": "p", "alg": "ES384", "x": P384_X, "y": P384_Y},
        {"kty": "OKP", "crv": "Ed25519", "kid": "e", "alg": "Ed25519", "x": ED_X},
    ]));
    let set = set.unwrap();
    assert!(key(&set, "p", Algorithm::Es384).verifies(Algorithm::Es384, SIGNED, &decode(ES384)));
    assert!(key(&set, "e", Algorithm::EdDsa).verifies(Algorithm::EdDsa, SIGNED, &decode(EDDSA)));
    assert!(!key(&set, "e", Algorithm::EdDsa).verifies(Algorithm::Es384, SIGNED, &decode(ES384)));
    assert_eq!(set.find(Some("p"), Algorithm::Es256), Found::Unfit);
}

#[test]
fn a7_signatures_that_hold_for_every_message_do_not_hold() {
    let signer = Signer::new("s");
    let (set, _) = parse(&json!([signer.jwk()]));
    let key = key(&set.unwrap(), "s", Algorithm::Es256);
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&order[at..at + 2], 16).unwrap()).collect();
    let mut less = order.clone();
    less[31] -= 1;
    let one = [vec![0; 31], vec![1]].concat();
    for r in [&vec![0; 32], &one, &less, &order] {
        for s in [&vec![0; 32], &one, &less, &order] {
            assert!(!key.verifies(Algorithm::Es256, SIGNED, &[r.as_slice(), s].concat()));
        }
    }
    let good = signer.signature(SIGNED);
    assert!(key.verifies(Algorithm::Es256, SIGNED, &good));
    assert!(!key.verifies(Algorithm::Es256, SIGNED, &[&good[..], &[0]].concat()));
    assert!(!key.verifies(Algorithm::Es256, SIGNED, &[&[0], &good[..]].concat()));
    assert!(!key.verifies(Algorithm::Es256, SIGNED, &good[..63]));
    assert!(!key.verifies(Algorithm::Es256, SIGNED, b""));
}

#[test]
fn a9_keys_for_other_ends_and_weak_keys_are_left_aside() {
    let check = |change: Value, why: Unusable| {
        let mut jwk = rsa();
        jwk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (set, aside) = parse(&json!([jwk]));
        assert!(matches!(set, Err(SetError::Nothing { count: 1 })), "{change}");
        assert_eq!(aside, [why], "{change}");
    };
    check(json!({"use": "enc"}), Unusable::Purpose);
    check(json!({"key_ops": ["sign"]}), Unusable::Purpose);
    check(json!({"alg": "RS1"}), Unusable::Unsupported);
    check(json!({"alg": "HS256"}), Unusable::Unsupported);
    check(json!({"alg": "ES256"}), Unusable::Unsupported);
    check(json!({"kty": "oct", "k": "AAAA"}), Unusable::Private);
    check(json!({"d": "AAAA"}), Unusable::Private);
    check(json!({"kty": "EC", "crv": "secp256k1"}), Unusable::Unsupported);
    check(json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}), Unusable::Material);
    check(json!({"n": RSA_1024_N}), Unusable::Material);
    check(json!({"n": encode([vec![0; 128], decode(RSA_1024_N)].concat())}), Unusable::Material);
    check(json!({"n": format!("{RSA_N}=")}), Unusable::Material);
    check(json!({"n": 5}), Unusable::Material);
    check(json!({"e": ""}), Unusable::Material);
}

#[test]
fn one_unusable_key_does_not_spoil_the_set() {
    let signer = Signer::new("s");
    let (set, aside) = parse(&json!([{"kty": "future"}, signer.jwk(), 7, rsa()]));
    assert_eq!(set.unwrap().len(), 2);
    assert_eq!(aside, [Unusable::Unsupported, Unusable::Material]);
}

#[test]
fn a_document_that_is_no_key_set_is_refused() {
    for bad in
        ["", "{}", "[]", "null", "{\"keys\":{}}", "{\"keys\":[]}", "<html>", "{\"keys\":[],\"keys\":[]}"]
    {
        assert!(KeySet::parse(bad.as_bytes(), |_, _| ()).is_err(), "{bad:?}");
    }
    let many = json!({"keys": vec![rsa(); 65]}).to_string();
    assert!(matches!(KeySet::parse(many.as_bytes(), |_, _| ()), Err(SetError::TooMany)));
}

#[test]
fn a_key_is_found_by_id_or_by_being_the_only_one() {
    let (one, two) = (Signer::new("one"), Signer::new("two"));
    let (set, _) = parse(&json!([one.jwk(), two.jwk(), rsa()]));
    let set = set.unwrap();
    assert!(matches!(set.find(Some("two"), Algorithm::Es256), Found::Key(_)));
    assert_eq!(set.find(Some("two"), Algorithm::Rs256), Found::Unfit);
    assert_eq!(set.find(None, Algorithm::Es256), Found::Unfit);
    assert!(matches!(set.find(None, Algorithm::Rs256), Found::Key(_)));
    assert_eq!(set.find(Some("three"), Algorithm::Es256), Found::UnknownId);
    for id in [
        "",
        "../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "one' OR '1'='1",
        "one\0",
        &"o".repeat(65_536),
    ] {
        assert_eq!(set.find(Some(id), Algorithm::Es256), Found::UnknownId, "a5 {id:.20}");
    }
}

fn source(url: String) -> Source {
    Source {
        url: Some(url),
        refresh_s: 3600,
        cooldown_s: 3600,
        deadline_ms: 5_000,
        stale_s: 3600,
        ..Source::default()
    }
}

#[test]
fn a_source_is_one_place_with_sensible_times() {
    let good = source("https://issuer.example/keys".into());
    assert!(good.check("i", false).is_ok());
    let bad = [
        Source { url: None, ..good.clone() },
        Source { discovery: good.url.clone(), ..good.clone() },
        Source { file: Some("keys.json".into()), ..good.clone() },
        Source { refresh_s: 0, ..good.clone() },
        Source { cooldown_s: 0, ..good.clone() },
        Source { stale_s: 60, ..good.clone() },
        Source { ca: Some("/nowhere.pem".into()), ..good.clone() },
        source("issuer.example/keys".into()),
        source("/keys".into()),
        source("ftp://issuer.example/keys".into()),
        source("https://user:password@issuer.example/keys".into()),
        source("http://issuer.example/keys".into()),
        source("http://127.0.0.1:7080/keys".into()),
    ];
    for source in bad {
        assert!(source.check("i", false).is_err(), "{source:?}");
    }
    assert!(source("http://127.0.0.1:7080/keys".into()).check("i", true).is_ok());
    assert!(source("http://[::1]:7080/keys".into()).check("i", true).is_ok());
    assert!(source("http://127.0.0.1.issuer.example/keys".into()).check("i", true).is_err());
}

#[tokio::test]
async fn a_source_cannot_send_the_edge_elsewhere_nor_drown_it() {
    let drain = Drain::default();
    let (server, elsewhere) = (Server::start(&drain).await, Server::start(&drain).await);
    elsewhere.set("/keys", Answer::Body(key_set(&[&Signer::new("s")])));
    server.set("/redirect", Answer::Redirect(elsewhere.url("/keys")));
    server.set("/oversized", Answer::Oversized);
    server.set("/broken", Answer::Status(500));
    let read =
        async |path: &str| source(server.url(path)).reader("i", true).unwrap().read().await.unwrap_err();
    let fetch = async |path: &str| {
        let SourceError::Fetch { source, .. } = read(path).await else { panic!("{path}") };
        source
    };
    assert!(matches!(fetch("/redirect").await, FetchError::Status(status) if status == 302));
    assert!(matches!(fetch("/oversized").await, FetchError::TooLarge));
    assert!(matches!(fetch("/broken").await, FetchError::Status(status) if status == 500));
    server.set("/keys", Answer::Body("{}".into()));
    assert!(matches!(read("/keys").await, SourceError::Set(_)));

    server.open(false);
    let slow = Source { deadline_ms: 50, ..source(server.url("/keys")) };
    let error = slow.reader("i", true).unwrap().read().await.unwrap_err();
    assert!(matches!(error, SourceError::Slow { .. }), "{error}");
    server.open(true);

    let discovery = Source { url: None, discovery: Some(server.url("/discovery")), ..source(String::new()) };
    let discover = async |document: Value, hosts: &[&str]| {
        server.set("/discovery", Answer::Body(document.to_string()));
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Source { hosts, ..discovery.clone() }.reader("https://issuer", true).unwrap().read().await
    };
    let keys = elsewhere.url("/keys");
    let own = json!({"issuer": "https://issuer", "jwks_uri": keys});
    assert!(discover(own.clone(), &[]).await.is_ok(), "the same host, another port");
    let other = json!({"issuer": "https://issuer/", "jwks_uri": keys});
    assert!(matches!(discover(other, &[]).await, Err(SourceError::OtherIssuer)));
    let asked = elsewhere.asked();
    let away = json!({"issuer": "https://issuer", "jwks_uri": keys.replace("127.0.0.1", "localhost")});
    let refused = discover(away.clone(), &[]).await.unwrap_err();
    assert!(matches!(refused, SourceError::Fetch { source: FetchError::Host, .. }), "{refused}");
    assert_eq!(elsewhere.asked(), asked);
    assert!(discover(away, &["localhost"]).await.is_ok());
}

#[tokio::test]
async fn only_the_named_roots_are_trusted() {
    let drain = Drain::default();
    let ((server, root), (_, other_root)) =
        (Server::start_tls(&drain).await, Server::start_tls(&drain).await);
    server.set("/keys", Answer::Body(key_set(&[&Signer::new("s")])));
    let directory = tempfile::tempdir().unwrap();
    let read = async |root: Option<&str>| {
        let ca = root.map(|root| {
            let path = directory.path().join("ca.pem");
            std::fs::write(&path, root).unwrap();
            path
        });
        let url = server.url("/keys").replace("http:", "https:");
        Source { ca, ..source(url) }.reader("i", false).unwrap().read().await
    };
    assert_eq!(read(Some(&root)).await.unwrap().len(), 1);
    for untrusted in [Some(other_root.as_str()), None] {
        let error = read(untrusted).await.unwrap_err();
        assert!(matches!(error, SourceError::Fetch { source: FetchError::Request(_), .. }), "{error}");
    }
    assert_eq!(server.asked(), 1);
}

async fn start(source: &Source, drain: &Drain) -> Result<Keys, SourceError> {
    Keys::start("i", source, true, drain, &Metrics::default()).await
}

#[tokio::test]
async fn a6_a_storm_of_unknown_keys_is_one_fetch_a_cool_down() {
    let drain = Drain::default();
    let server = Server::start(&drain).await;
    server.set("/keys", Answer::Body(key_set(&[&Signer::new("s")])));
    let keys = start(&source(server.url("/keys")), &drain).await.unwrap();
    let asked = futures_all(200, || keys.refetched()).await;
    assert_eq!(asked, vec![false; 200]);
    assert_eq!(server.asked(), 1, "the one of the start");
}

#[tokio::test]
async fn one_fetch_serves_all_who_wait_for_it() {
    let drain = Drain::default();
    let server = Server::start(&drain).await;
    server.set("/keys", Answer::Body(key_set(&[&Signer::new("s")])));
    let source = Source { cooldown_s: 1, ..source(server.url("/keys")) };
    let keys = Arc::new(start(&source, &drain).await.unwrap());
    let generation = keys.current().generation;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while keys.cooling() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.open(false);
    server.set("/keys", Answer::Body(key_set(&[&Signer::new("t")])));
    let waiting = keys.clone();
    let waiting = drain.spawn("waiting", async move { futures_all(200, || waiting.refetched()).await });
    while server.asked() < 2 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.open(true);
    let waited = waiting.await.unwrap().into_iter().filter(|fetched| *fetched).count();
    assert_eq!(waited, 64, "the others were turned away at once");
    assert_eq!(server.asked(), 2);
    assert_eq!(keys.current().generation, generation + 1);
}

#[tokio::test]
async fn a_source_that_fails_leaves_the_keys_that_were_until_they_are_stale() {
    let drain = Drain::default();
    let server = Server::start(&drain).await;
    server.set("/keys", Answer::Body(key_set(&[&Signer::new("s")])));
    let source = Source { refresh_s: 1, cooldown_s: 1, stale_s: 3, ..source(server.url("/keys")) };
    let keys = start(&source, &drain).await.unwrap();
    server.set("/keys", Answer::Status(503));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while server.asked() < 3 {
        assert_eq!(keys.current().set.len(), 1, "still served");
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while !keys.current().set.is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_issuer_that_is_away_does_not_keep_the_edge_from_starting_but_a_missing_file_does() {
    let drain = Drain::default();
    let server = Server::start(&drain).await;
    let keys = start(&source(server.url("/keys")), &drain).await.unwrap();
    assert!(keys.current().set.is_empty());
    let file = Source { url: None, file: Some("/nowhere/keys.json".into()), ..source(String::new()) };
    assert!(matches!(start(&file, &drain).await.err(), Some(SourceError::File { .. })));
}

#[tokio::test]
async fn dropped_keys_stop_fetching() {
    let drain = Drain::default();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, key_set(&[&Signer::new("s")])).unwrap();
    let file = Source { url: None, file: Some(path), ..source(String::new()) };
    drop(start(&file, &drain).await.unwrap());
    assert!(drain.finished(Duration::from_secs(5)).await, "the task ended without being told to stop");
}

/// Runs futures together.
async fn futures_all<F: Future>(count: usize, make: impl FnMut() -> F) -> Vec<F::Output> {
    futures::future::join_all(std::iter::repeat_with(make).take(count)).await
}
