//! Origins as browsers write them (RFC 6454 section 6.2): scheme, host, and a port that is not the scheme's own, in lower case. A
//! text that no browser would send is refused at load, for it would look like a grant and never be one.

use anyhow::{bail, ensure};

/// What a configuration names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    Exact(Box<str>),
    Wildcard(Wildcard),
}

/// Every origin that has exactly one label in place of the star.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wildcard {
    /// From the dot behind the star to the end, port included.
    tail: Box<str>,
}

impl Wildcard {
    pub(super) fn covers(&self, origin: &str) -> bool {
        let label = origin.strip_prefix(HTTPS).and_then(|rest| rest.strip_suffix(&*self.tail));
        label.is_some_and(is_label)
    }
}

const HTTPS: &str = "https://";

/// Reads one of `origins`.
pub(super) fn parse(text: &str) -> anyhow::Result<Named> {
    ensure!(text != "*" && text != "null", "origins = {text:?}: it would be anybody");
    let Some((scheme, authority)) = text.split_once("://") else {
        bail!("origins = {text:?}: an origin is scheme://host[:port]")
    };
    let (host, port) =
        authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let loopback = matches!(host, "localhost" | "127.0.0.1");
    ensure!(scheme == "https" || (scheme == "http" && loopback), "origins = {text:?}: an origin is https");
    if let Some(port) = port {
        let own = if scheme == "https" { 443 } else { 80 };
        let number = port.parse::<u16>().ok().filter(|number| *number != own && number.to_string() == port);
        ensure!(number.is_some(), "origins = {text:?}: browsers do not write this port");
    }
    let Some(domain) = host.strip_prefix("*.") else {
        ensure!(
            host.split('.').all(is_label),
            "origins = {text:?}: this is no host in lower case, or more than a host"
        );
        return Ok(Named::Exact(text.into()));
    };
    // `https://*.com` is everybody, and so are the names below which a registry sells names; those of one level are known.
    let labels = domain.split('.').count();
    ensure!(
        labels >= 2 && domain.split('.').all(is_label),
        "origins = {text:?}: the star stands for one label of a domain of yours"
    );
    Ok(Named::Wildcard(Wildcard { tail: authority.trim_start_matches('*').into() }))
}

/// Letters, digits and dashes, in lower case; others than these come in punycode.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}
