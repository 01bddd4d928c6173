//! A8: signatures by RSA that a careless verifier takes. The tokens are made by tests/security/rsa_tokens.py, under a key of theirs;
//! the edge takes the two that are right and none of the others.

use std::path::Path;
use std::sync::Arc;

use e2e::World;
use http::Method;
use http_body_util::Full;
use serde_json::Value;

crate::tests![a8_only_the_one_padding_of_a_signature_is_taken];

const VECTORS: &str = include_str!("../../../security/rsa_tokens.json");

/// What makes the edge believe the key of the vectors, whose tokens live to the end of the century.
pub fn edge_toml(folder: &Path) -> String {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let keys = folder.join("rsa.json");
    std::fs::write(&keys, vectors["jwks"].to_string()).unwrap();
    format!(
        "[[authn.issuer]]\nissuer = \"https://rsa.example\"\naudiences = [\"causeway\"]\nalgorithms = [\"RS256\", \"PS256\"]\n\
         lifetime_s_max = 4000000000\njwks = {{ file = \"{}\" }}\n",
        keys.display()
    )
}

async fn a8_only_the_one_padding_of_a_signature_is_taken(world: Arc<World>) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let tokens = vectors["tokens"].as_array().unwrap();
    assert!(tokens.len() > 30, "{} vectors", tokens.len());
    let mut wrong = Vec::new();
    for vector in tokens {
        let [alg, name, token] = ["alg", "name", "token"].map(|field| vector[field].as_str().unwrap());
        let request = world
            .rest
            .request(Method::GET, "/v1/echo/rsa")
            .header("authorization", format!("Bearer {token}"));
        let status = world.rest.send(request.body(Full::default()).unwrap()).await.status.as_u16();
        if status != if name == "right" { 200 } else { 401 } {
            wrong.push(format!("{alg}, {name}: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
