//! Where a request comes from. The peer's address cannot be made up, for a connection has been made with it; what a header says
//! can, so it is believed only as far as trusted proxies wrote it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client: the peer, unless that is a trusted proxy. Then the last address in `X-Forwarded-For` that is not
/// one: each proxy appends who came to it, so what stands before that is the client's own invention. A list that cannot be read
/// is believed up to there.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(&address))
    };
    if !is_trusted(&peer) {
        return peer;
    }
    let mut nearest = peer;
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let Ok(text) = value.to_str() else { return nearest };
        for address in text.rsplit(',') {
            let Ok(address) = address.trim().parse() else { return nearest };
            if !is_trusted(&address) {
                return address;
            }
            nearest = address;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], expect: &str) {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let expect: IpAddr = expect.parse().unwrap();
        assert_eq!(client(peer.parse().unwrap(), &headers, &trusted), expect, "{peer} {forwarded:?}");
    }

    #[test]
    fn e11_x_forwarded_for_is_believed_as_far_as_trusted_proxies_wrote_it() {
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("192.0.2.1", &["10.0.0.1"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["198.51.100.7, "], "10.0.0.1");
        check("2001:db8::1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }
}
