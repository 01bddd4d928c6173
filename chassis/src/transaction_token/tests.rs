//! E4: a token is believed by the workload it was minted for, in its own trust domain and time, and by nobody else.

use super::*;
use crate::call::{Partner, Principal, Scopes, Subject};

const DOMAIN: &str = "causeway.test";
const LEDGER: &str = "spiffe://causeway.test/svc-ledger";
const LIFETIME: Duration = Duration::from_secs(300);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn subject(issuer: &str, id: &str) -> Subject {
    let scopes: Scopes = ["accounts.read".to_owned(), "payments.write".to_owned()].into();
    Subject { issuer: issuer.into(), id: id.into(), customer_id: Some("c-1".into()), scopes }
}

fn alice() -> Caller {
    Caller { principal: Principal::Subject(subject("https://issuer", "alice")), service: None }
}

fn signer() -> Signer {
    Signer::load(None, DOMAIN, LIFETIME).unwrap()
}

fn refusal(result: Result<Arc<Verified>, TokenError>) -> TokenError {
    result.expect_err("refused")
}

#[test]
fn a_caller_survives_the_wire() {
    let principals = [
        Principal::Anonymous,
        Principal::Service,
        Principal::Subject(subject("https://issuer", "alice")),
        Principal::Subject(Subject { customer_id: None, scopes: Scopes::new(), ..subject("i", "bob") }),
        Principal::Partner(Partner { id: "psp".into(), subject: None }),
        Principal::Partner(Partner { id: "psp".into(), subject: Some(subject("https://issuer", "zoë")) }),
    ];
    let signer = signer();
    for principal in principals {
        for service in [None, Some("svc-docs".to_owned())] {
            let caller = Caller { principal: principal.clone(), service };
            let minted = signer.mint(&caller, LEDGER, now(), None).unwrap();
            let verified = signer.verifier().verify(&minted.value, LEDGER, now()).unwrap();
            assert_eq!(*verified.caller, caller);
            assert_eq!(verified.expires_at, now() + LIFETIME);
        }
    }
}

#[test]
fn e4_a_token_is_good_for_the_workload_it_was_minted_for_and_no_other() {
    let signer = signer();
    let minted = signer.mint(&alice(), LEDGER, now(), None).unwrap();
    let verifier = signer.verifier();
    let docs = "spiffe://causeway.test/svc-docs";
    assert_eq!(refusal(verifier.verify(&minted.value, docs, now())), TokenError::Audience);
    assert!(verifier.verify(&minted.value, LEDGER, now()).is_ok());
    assert_eq!(refusal(verifier.verify(&minted.value, docs, now())), TokenError::Audience, "remembered too");
}

#[test]
fn e4_a_token_ends_with_what_it_was_minted_for() {
    let signer = signer();
    let verifier = signer.verifier();
    let soon = now() + Duration::from_secs(7);
    let minted = signer.mint(&alice(), LEDGER, now(), Some(soon)).unwrap();
    assert_eq!((minted.expires_at, minted.renew_at), (soon, soon));
    assert!(verifier.verify(&minted.value, LEDGER, soon).is_ok(), "clocks may be a little apart");
    assert_eq!(refusal(verifier.verify(&minted.value, LEDGER, soon + LEEWAY)), TokenError::Expired);
    assert_eq!(refusal(signer.verifier().verify(&minted.value, LEDGER, soon + LEEWAY)), TokenError::Expired);
    let early = now() - LEEWAY - Duration::from_secs(1);
    assert_eq!(refusal(signer.verifier().verify(&minted.value, LEDGER, early)), TokenError::Expired);
}

#[test]
fn e4_another_trust_domain_and_another_key_are_nobody() {
    let key = generate().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.pem");
    std::fs::write(&path, &key).unwrap();
    let (ours, theirs) = (
        Signer::load(Some(&path), DOMAIN, LIFETIME).unwrap(),
        Signer::load(Some(&path), "causeway.evil", LIFETIME).unwrap(),
    );
    let minted = theirs.mint(&alice(), LEDGER, now(), None).unwrap();
    assert_eq!(refusal(ours.verifier().verify(&minted.value, LEDGER, now())), TokenError::Issuer);
    let minted = signer().mint(&alice(), LEDGER, now(), None).unwrap();
    assert_eq!(refusal(ours.verifier().verify(&minted.value, LEDGER, now())), TokenError::Key);
}

#[test]
fn e4_no_bit_of_a_token_can_be_changed() {
    let signer = signer();
    let verifier = signer.verifier();
    let good = signer.mint(&alice(), LEDGER, now(), None).unwrap().value;
    let text = good.to_str().unwrap();
    for place in 0..text.len() {
        let mut forged = text.as_bytes().to_vec();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let forged = HeaderValue::from_bytes(&forged).unwrap();
        // The last character of a part has bits that mean nothing; the decoder refuses those that are set.
        assert!(verifier.verify(&forged, LEDGER, now()).is_err(), "at {place}");
    }
    for bad in ["", ".", "..", "a.b", "e30.e30.", "e30.e30.AA", "not a token"] {
        let bad = HeaderValue::from_static(bad);
        assert_eq!(refusal(verifier.verify(&bad, LEDGER, now())), TokenError::Malformed);
    }
    let other = |header: &str| {
        let (_, rest) = text.split_once('.').unwrap();
        let value = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
        refusal(verifier.verify(&HeaderValue::try_from(value).unwrap(), LEDGER, now()))
    };
    assert_eq!(other(r#"{"alg":"none","kid":"k","typ":"txntoken+jwt"}"#), TokenError::Malformed);
    assert_eq!(other(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#), TokenError::Malformed);
    assert_eq!(other(r#"{"alg":"EdDSA","kid":"k","typ":"txntoken+jwt","jwk":{}}"#), TokenError::Malformed);
    assert_eq!(other(r#"{"alg":"EdDSA","kid":"k","typ":"txntoken+jwt"}"#), TokenError::Key);
}

#[test]
fn two_tokens_and_none_are_refused() {
    let signer = signer();
    let verifier = signer.verifier();
    let mut headers = HeaderMap::new();
    assert_eq!(refusal(verifier.of(&headers, LEDGER, now())), TokenError::Missing);
    headers.append(TXN_TOKEN, signer.mint(&alice(), LEDGER, now(), None).unwrap().value);
    assert!(verifier.of(&headers, LEDGER, now()).is_ok());
    headers.append(TXN_TOKEN, signer.mint(&alice(), LEDGER, now(), None).unwrap().value);
    assert_eq!(refusal(verifier.of(&headers, LEDGER, now())), TokenError::Malformed);
}

#[test]
fn keys_rotate_live_and_a_removed_key_takes_its_tokens_along() {
    let directory = tempfile::tempdir().unwrap();
    let (private, public) = (directory.path().join("edge.pem"), directory.path().join("services.pem"));
    let (old, new) = (generate().unwrap(), generate().unwrap());
    std::fs::write(&private, &old).unwrap();
    std::fs::write(&public, public_half(&old).unwrap()).unwrap();
    let signer = Signer::load(Some(&private), DOMAIN, LIFETIME).unwrap();
    let service = Verifier::load(&public, DOMAIN).unwrap();
    let reload = || {
        signer.keys.reload(&private, |keys| keys.signing.is_some());
        service.keys.reload(&public, |keys| keys.signing.is_none());
    };
    let mint = || signer.mint(&alice(), LEDGER, now(), None).unwrap().value;
    let before = mint();
    assert!(service.verify(&before, LEDGER, now()).is_ok());

    std::fs::write(&public, public_half(&old).unwrap() + &public_half(&new).unwrap()).unwrap();
    std::fs::write(&private, new.clone() + &old).unwrap();
    reload();
    let after = mint();
    for token in [&before, &after] {
        assert!(service.verify(token, LEDGER, now()).is_ok());
        assert!(signer.verifier().verify(token, LEDGER, now()).is_ok(), "the edge takes both back");
    }

    std::fs::write(&public, public_half(&new).unwrap()).unwrap();
    reload();
    assert_eq!(refusal(service.verify(&before, LEDGER, now())), TokenError::Key);
    assert!(service.verify(&after, LEDGER, now()).is_ok());

    std::fs::write(&public, "nothing").unwrap();
    std::fs::write(&private, public_half(&new).unwrap()).unwrap();
    reload();
    assert!(service.verify(&mint(), LEDGER, now()).is_ok(), "what cannot be used is not taken over");
    assert!(Verifier::load(&public, DOMAIN).is_err());
}

#[test]
fn a_service_is_given_no_private_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.pem");
    std::fs::write(&path, generate().unwrap()).unwrap();
    assert!(Verifier::load(&path, DOMAIN).unwrap_err().to_string().contains("private key"));
    std::fs::write(&path, public_half(&generate().unwrap()).unwrap()).unwrap();
    assert!(Signer::load(Some(&path), DOMAIN, LIFETIME).is_err());
}
