//! The issuer over HTTP: discovery, keys, and the token endpoint. Plain HTTP on loopback, for development only.
//!
//! `POST /token` takes a form: `grant_type=dev&user=alice`, optionally `scope` (fewer than the person has) and `expires_in`
//! (seconds, at most an hour). The answer is that of RFC 6749; with `Accept: text/plain` it is the bare token, for a shell.

use super::{Issuer, Person};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The grant of the token endpoint: no RFC has one that asks for no proof.
pub(super) const GRANT: &str = "dev";

/// A form with a user, a scope and a lifetime is far below this.
const FORM_BYTES_MAX: usize = 4096;
/// The longest life of a token that the edge takes unless told otherwise.
const LIFETIME_SECONDS_MAX: i64 = 3_600;
/// How long a client may take to send its headers.
const HEADER_LONGEST: Duration = Duration::from_secs(10);

pub(super) async fn serve(issuer: Arc<Issuer>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept is a client that has gone, or no file descriptor left for now: neither is for ever.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let issuer = Arc::clone(&issuer);
                connections.spawn(async move {
                    let answer = service_fn(|request| answer(Arc::clone(&issuer), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADER_LONGEST)
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    issuer: Arc<Issuer>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server") => {
            json_response(StatusCode::OK, &issuer.discovery())
        }
        (&Method::GET, "/jwks") => json_response(StatusCode::OK, &issuer.jwks()),
        (&Method::POST, "/token") => token(&issuer, request).await,
        (&Method::OPTIONS, _) => json_response(StatusCode::NO_CONTENT, &Value::Null),
        _ => refusal(StatusCode::NOT_FOUND, "not_found", "see /.well-known/openid-configuration"),
    };
    // The web app is served from another origin, the edge's.
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, header::HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn token(issuer: &Issuer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let plain = request.headers().get(header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    let Ok(body) = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await else {
        return refusal(StatusCode::BAD_REQUEST, "invalid_request", "the form is unreadable or too long");
    };
    match grant(issuer, &form(&body.to_bytes())) {
        Ok(answer) if plain => {
            let token = answer["access_token"].as_str().unwrap_or_default().to_owned();
            with_type(StatusCode::OK, "text/plain", token)
        }
        Ok(answer) => json_response(StatusCode::OK, &answer),
        Err((error, description)) => refusal(StatusCode::BAD_REQUEST, error, &description),
    }
}

/// The token response, or RFC 6749's error code and a sentence.
fn grant(issuer: &Issuer, form: &BTreeMap<String, String>) -> Result<Value, (&'static str, String)> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != GRANT {
        return Err(("unsupported_grant_type", format!("grant_type must be {GRANT}")));
    }
    let Some(person) = Person::named(field("user")) else {
        let names: Vec<&str> = super::PEOPLE.iter().map(|person| person.name).collect();
        return Err(("invalid_grant", format!("user must be one of {}", names.join(", "))));
    };
    let Some(mut request) = issuer.request_for(person) else {
        return Err((
            "invalid_grant",
            format!("{} is no customer yet: the demo data creates them", person.name),
        ));
    };
    let wanted: Vec<&str> = field("scope").split_whitespace().collect();
    if let Some(extra) = wanted.iter().find(|scope| !person.scopes.contains(scope)) {
        return Err(("invalid_scope", format!("{} does not have {extra}", person.name)));
    }
    if !wanted.is_empty() {
        request = request.scopes(&wanted);
    }
    if let Some(seconds) = form.get("expires_in") {
        match seconds.parse() {
            Ok(seconds @ 1..=LIFETIME_SECONDS_MAX) => request = request.lifetime(seconds),
            Ok(_) | Err(_) => {
                return Err(("invalid_request", format!("expires_in must be 1 to {LIFETIME_SECONDS_MAX}")));
            }
        }
    }
    let token = issuer.issue(&request).map_err(|error| ("server_error", error.to_string()))?;
    Ok(json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": request.lifetime_seconds(),
        "scope": request.scope(),
    }))
}

/// The fields of `application/x-www-form-urlencoded`. Names, scopes and numbers need no percent signs but those of a space.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.replace('+', " ").replace("%20", " "))).collect()
}

fn refusal(status: StatusCode, error: &str, description: &str) -> Response<Full<Bytes>> {
    json_response(status, &json!({ "error": error, "error_description": description }))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    with_type(status, "application/json", body.to_string())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_fields_are_split_and_spaces_restored() {
        let form = form(b"grant_type=dev&user=alice&scope=accounts.read+payments.write%20staff.read");
        assert_eq!(form["user"], "alice");
        assert_eq!(form["scope"], "accounts.read payments.write staff.read");
    }
}
