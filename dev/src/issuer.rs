//! The development token issuer: what an OpenID provider is to the edge, with a token endpoint that asks no questions. Its key
//! is made once, so tokens and the edge's cached key set outlive a restart. It signs anything it is asked to, through
//! [`Issuer::sign`], which is how tests get tokens that a real issuer would never give.

mod people;
mod server;
mod token;

use crate::hosted::Hosted;
use crate::pki::Pki;
use crate::state::{self, State};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
pub use people::{PEOPLE, Person};
use rcgen::KeyPair;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
pub use token::{AUDIENCE, TokenRequest};

/// Issues and signs tokens; serves discovery, keys and the token endpoint.
pub struct Issuer {
    url: String,
    kid: String,
    key: EncodingKey,
    /// The public point, uncompressed: 0x04, x, y.
    point: Vec<u8>,
    /// Which customer each person is; written by the demo data, read at every token.
    customers: PathBuf,
    partner_thumbprint: String,
}

impl Issuer {
    pub(crate) fn load(state: &State, port: u16, pki: &Pki) -> Result<Arc<Self>> {
        let path = state.issuer("es256.key");
        let pem = state::read_or_create(&path, || Ok(KeyPair::generate()?.serialize_pem()))?;
        let pair = KeyPair::from_pem(&pem).with_context(|| format!("cannot use {}", path.display()))?;
        let point = pair.public_key_raw().to_vec();
        Ok(Arc::new(Self {
            url: format!("http://127.0.0.1:{port}"),
            kid: URL_SAFE_NO_PAD.encode(&Sha256::digest(&point)[..12]),
            key: EncodingKey::from_ec_pem(pem.as_bytes())?,
            point,
            customers: state.issuer("customers.json"),
            partner_thumbprint: pki.partner_thumbprint.clone(),
        }))
    }

    pub(crate) fn serve(self: &Arc<Self>, port: u16) -> Result<Hosted> {
        let issuer = Arc::clone(self);
        Hosted::start(port, |listener| server::serve(issuer, listener))
    }

    /// The `iss` of its tokens, and where it is reached.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of its key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs claims as they are, under a header of the caller's choice: only the algorithm is always ES256.
    pub fn sign(&self, typ: &str, kid: &str, claims: &Value) -> Result<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(kid.to_owned());
        jsonwebtoken::encode(&header, claims, &self.key).context("cannot sign the token")
    }

    /// Issues an access token (RFC 9068).
    pub fn issue(&self, request: &TokenRequest) -> Result<String> {
        self.sign("at+jwt", &self.kid, &request.claims(&self.url))
    }

    /// The request for a token of one of the demo's people; `None` for a customer whom the demo data has not created yet.
    #[must_use]
    pub fn request_for(&self, person: &Person) -> Option<TokenRequest> {
        let mut request = TokenRequest::new(person.name).scopes(person.scopes);
        if let Some(customer) = person.customer {
            request = request.customer(&self.customers().remove(customer)?);
        }
        if person.bound_to_partner {
            request = request.bound_to(&self.partner_thumbprint);
        }
        Some(request)
    }

    /// Remembers which customer a person is.
    pub fn set_customer(&self, person: &str, customer_id: &str) -> Result<()> {
        let mut customers = self.customers();
        customers.insert(person.to_owned(), customer_id.to_owned());
        state::write_private(&self.customers, serde_json::to_vec_pretty(&customers)?)
    }

    fn customers(&self) -> BTreeMap<String, String> {
        let text = std::fs::read(&self.customers).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The key set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let half = |range| {
            URL_SAFE_NO_PAD.encode(self.point.get::<std::ops::Range<usize>>(range).unwrap_or_default())
        };
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": half(1..33), "y": half(33..65),
        }]})
    }

    /// The discovery document (OpenID Connect Discovery 1.0, RFC 8414).
    #[must_use]
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/jwks", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "grant_types_supported": [server::GRANT],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["none"],
        })
    }
}
