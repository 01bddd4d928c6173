//! The claims of an access token, and the little language in which a test or the token endpoint asks for them.

use chrono::Utc;
use serde_json::{Map, Value, json};

/// Whom the tokens are meant for: what the edge expects in `aud`.
pub const AUDIENCE: &str = "causeway";

/// A token to be. Every claim can be set; those left alone are what the edge expects.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    subject: String,
    scopes: String,
    customer_id: Option<String>,
    lifetime_seconds: i64,
    thumbprint: Option<String>,
    overrides: Map<String, Value>,
}

impl TokenRequest {
    /// An hour's token without scopes.
    #[must_use]
    pub fn new(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            scopes: String::new(),
            customer_id: None,
            lifetime_seconds: 3600,
            thumbprint: None,
            overrides: Map::new(),
        }
    }

    #[must_use]
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.join(" ");
        self
    }

    #[must_use]
    pub fn customer(mut self, customer_id: &str) -> Self {
        self.customer_id = Some(customer_id.to_owned());
        self
    }

    /// How long it lasts; negative for a token that has run out already.
    #[must_use]
    pub fn lifetime(mut self, seconds: i64) -> Self {
        self.lifetime_seconds = seconds;
        self
    }

    /// Binds it to a client certificate by the SHA-256 of its DER, base64url (RFC 8705).
    #[must_use]
    pub fn bound_to(mut self, thumbprint: &str) -> Self {
        self.thumbprint = Some(thumbprint.to_owned());
        self
    }

    /// Sets any claim, in place of what it would be; `null` leaves it out.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        self.overrides.insert(name.to_owned(), value);
        self
    }

    pub(super) fn lifetime_seconds(&self) -> i64 {
        self.lifetime_seconds
    }

    pub(super) fn scope(&self) -> &str {
        &self.scopes
    }

    /// The claims, issued at this moment by `issuer`.
    #[must_use]
    pub fn claims(&self, issuer: &str) -> Value {
        let now = Utc::now().timestamp();
        // A token that has run out must once have been good.
        let issued = now.min(now + self.lifetime_seconds - 1);
        let mut claims = json!({
            "iss": issuer,
            "sub": self.subject,
            "aud": AUDIENCE,
            "client_id": "causeway-dev",
            "iat": issued,
            "nbf": issued,
            "exp": now + self.lifetime_seconds,
            "jti": uuid::Uuid::now_v7().to_string(),
            "scope": self.scopes,
        });
        if let Some(customer) = &self.customer_id {
            claims["customer_id"] = json!(customer);
        }
        if let Some(thumbprint) = &self.thumbprint {
            claims["cnf"] = json!({ "x5t#S256": thumbprint });
        }
        if let Value::Object(claims) = &mut claims {
            claims.extend(self.overrides.clone());
            claims.retain(|_, value| !value.is_null());
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_token_was_valid_before() {
        let claims = TokenRequest::new("alice").lifetime(-60).claims("http://issuer");
        let at = |name: &str| claims[name].as_i64().unwrap();
        assert!(at("iat") < at("exp") && at("exp") < Utc::now().timestamp());
    }

    #[test]
    fn claim_is_replaced_or_left_out() {
        let request = TokenRequest::new("alice").claim("aud", json!("other")).claim("exp", Value::Null);
        let claims = request.claims("http://issuer");
        assert_eq!(claims["aud"], "other");
        assert!(claims.get("exp").is_none());
    }
}
