//! The token of a request: from the Authorization header and from nowhere else (RFC 6750 section 2.1). A token in a query or a
//! form is not looked for; it would end in somebody's log.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::refusal::Cause;

/// The token, if the request carries credentials at all.
pub fn token(headers: &HeaderMap) -> Result<Option<&str>, Cause> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Two answers to who is asking: whoever reads the other one would decide otherwise.
    if values.next().is_some() {
        return Err(Cause::Header);
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Cause::Header)?;
    // The scheme has no case (RFC 9110 section 11.1). One space and a token without any: what else there may be between them
    // is read differently by different servers.
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains([' ', '\t', ',']) {
        return Err(Cause::Header);
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expect: Result<Option<&str>, Cause>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        assert_eq!(token(&headers), expect, "{values:?}");
    }

    #[test]
    fn a17_one_header_one_scheme_one_token() {
        check(&[], Ok(None));
        check(&["Bearer a.b.c"], Ok(Some("a.b.c")));
        check(&["bearer a.b.c"], Ok(Some("a.b.c")));
        for refused in [
            &["Bearer a.b.c", "Bearer a.b.c"][..],
            &["Bearer a.b.c", "Basic eDp5"],
            &["Bearer"],
            &["Bearer "],
            &[""],
            &["Bearer  a.b.c"],
            &["Bearer\ta.b.c"],
            &["Bearer a.b.c "],
            &["Bearer a.b.c, Bearer d.e.f"],
            &["Bearera.b.c"],
            &["Basic eDp5"],
            &["DPoP a.b.c"],
            &["a.b.c"],
        ] {
            check(refused, Err(Cause::Header));
        }
    }

    #[test]
    fn a17_credentials_elsewhere_are_not_looked_for() {
        let mut headers = HeaderMap::new();
        for name in ["proxy-authorization", "x-authorization", "authorization_", "cookie", "x-access-token"] {
            headers.insert(name, "Bearer a.b.c".parse().unwrap());
        }
        assert_eq!(token(&headers), Ok(None));
    }
}
