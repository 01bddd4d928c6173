//! The token of a request: from the Authorization header and from nowhere else (RFC 6750 section 2.1). A token in a query or a
//! form is not looked for; it would end in somebody's log. Beside it, of a request, only what a proof of possession speaks of.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Uri};

use super::refusal::Cause;

/// What of a request its credentials may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub headers: &'a HeaderMap,
    pub method: &'a Method,
    pub uri: &'a Uri,
}

/// How a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Whoever bears it may use it (RFC 6750), or whoever has the certificate it is bound to (RFC 8705).
    Bearer,
    /// With a proof of the key it is bound to (RFC 9449).
    DPoP,
}

/// A token and how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    pub scheme: Scheme,
    pub token: &'a str,
}

/// The token, if the request carries credentials at all.
pub fn read(headers: &HeaderMap) -> Result<Option<Shown<'_>>, Cause> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Two answers to who is asking: whoever reads the other one would decide otherwise.
    if values.next().is_some() {
        return Err(Cause::Header);
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Cause::Header)?;
    // The scheme has no case (RFC 9110 section 11.1). One space and a token without any: what else there may be between them
    // is read differently by different servers.
    let scheme = if scheme.eq_ignore_ascii_case("bearer") {
        Scheme::Bearer
    } else if scheme.eq_ignore_ascii_case("dpop") {
        Scheme::DPoP
    } else {
        return Err(Cause::Header);
    };
    if token.is_empty() || token.contains([' ', '\t', ',']) {
        return Err(Cause::Header);
    }
    Ok(Some(Shown { scheme, token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expect: Result<Option<(Scheme, &str)>, Cause>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let shown = read(&headers).map(|shown| shown.map(|shown| (shown.scheme, shown.token)));
        assert_eq!(shown, expect, "{values:?}");
    }

    #[test]
    fn a17_one_header_one_scheme_one_token() {
        check(&[], Ok(None));
        for bearer in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"] {
            check(&[bearer], Ok(Some((Scheme::Bearer, "a.b.c"))));
        }
        check(&["DPoP a.b.c"], Ok(Some((Scheme::DPoP, "a.b.c"))));
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
            &["DPoP a.b.c", "Bearer a.b.c"],
            &["DPoPa.b.c"],
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
        assert_eq!(read(&headers), Ok(None));
    }
}
