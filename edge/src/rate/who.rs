//! Principals as the buckets know them: 60 bits of a hash that says nothing about whom it is of, the same in every edge, made
//! once for each verified token. Two principals that meet in it share a bucket; with a million of them at once the odds are one in
//! two million.

use std::net::IpAddr;

use chassis::call::{Caller, Principal};
use ring::digest::{Context, SHA256};

/// A principal, without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    kind: Kind,
    hash: u64,
}

/// Whose quota a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person, by token.
    Subject,
    /// A partner, whomever it acts for.
    Partner,
    /// A workload, whomever it acts for: that person's request was counted when it came in.
    Service,
    /// An address.
    Anonymous,
}

impl Kind {
    /// All of them, each at the place its number says.
    pub const ALL: [Self; 4] = [Self::Subject, Self::Partner, Self::Service, Self::Anonymous];

    /// The label in errors and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Partner => "partner",
            Self::Service => "service",
            Self::Anonymous => "anonymous",
        }
    }
}

impl Who {
    /// Whoever does not say who they are: to be counted by [`Who::at`].
    pub const NOBODY: Self = Self { kind: Kind::Anonymous, hash: 0 };

    /// The principal of a caller.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let (kind, names) = match (&caller.service, &caller.principal) {
            (Some(service), _) => (Kind::Service, [service.as_str(), ""]),
            (None, Principal::Subject(subject)) => (Kind::Subject, [&*subject.issuer, &*subject.id]),
            (None, Principal::Partner(partner)) => (Kind::Partner, [&*partner.id, ""]),
            (None, Principal::Service | Principal::Anonymous) => return Self::NOBODY,
        };
        let mut hash = Context::new(&SHA256);
        hash.update(kind.as_str().as_bytes());
        for name in names {
            // The length keeps an issuer that ends like another's subject begins apart from it.
            hash.update(&(name.len() as u64).to_be_bytes());
            hash.update(name.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finish().as_ref()[..8]);
        Self { kind, hash: u64::from_be_bytes(first) }
    }

    /// Whoever is at an address. Of IPv6 the network counts: a /64 is what one customer of a provider gets, with more addresses
    /// than there are buckets. IPv4 is rare enough to be counted whole, and what it hides behind one address is many.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        let (family, network) = match address.to_canonical() {
            IpAddr::V4(address) => (4, u64::from(address.to_bits())),
            #[allow(clippy::cast_possible_truncation, reason = "the upper half of an address is 64 bits")]
            IpAddr::V6(address) => (6, (address.to_bits() >> 64) as u64),
        };
        Self { kind: Kind::Anonymous, hash: mix(network ^ mix(family)) }
    }

    /// The kind it was made of.
    #[must_use]
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// The key of its bucket under the limit at a place below 16.
    pub(super) const fn key(self, limit: u8) -> Key {
        Key(self.hash << Key::LIMIT_BITS | limit as u64)
    }
}

/// The key of a bucket: a principal, and which limit. Zero is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) u64);

impl Key {
    const LIMIT_BITS: u32 = 4;

    /// The place of the limit.
    pub(super) const fn limit(self) -> usize {
        (self.0 & ((1 << Self::LIMIT_BITS) - 1)) as usize
    }

    /// The principal's part.
    pub(super) const fn principal(self) -> u64 {
        self.0 >> Self::LIMIT_BITS
    }
}

/// Spreads what differs in few bits over all of them (the finalizer of SplitMix64). No two numbers meet.
pub(super) const fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::call::{Partner, Scopes, Subject};

    fn subject(issuer: &str, id: &str) -> Principal {
        let (issuer, id) = (issuer.to_owned(), id.to_owned());
        Principal::Subject(Subject { issuer, id, customer_id: None, scopes: Scopes::new() })
    }

    #[test]
    fn no_two_principals_share_a_bucket() {
        let of = |principal, service: Option<&str>| {
            Who::of(&Caller { principal, service: service.map(str::to_owned) })
        };
        let partner = |subject| Principal::Partner(Partner { id: "psp".into(), subject });
        let all = [
            of(subject("a", "bc"), None),
            of(subject("ab", "c"), None),
            of(subject("a", "b"), None),
            of(partner(None), None),
            of(Principal::Service, Some("psp")),
            of(Principal::Service, Some("svc-docs")),
            Who::at("192.0.2.1".parse().unwrap()),
            Who::at("192.0.2.2".parse().unwrap()),
            Who::at("::".parse().unwrap()),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.hash != one.hash), "{one:?}");
        }
        // A partner is one, and so is a service, whomever they act for.
        let Principal::Subject(alice) = subject("a", "alice") else { unreachable!() };
        assert_eq!(of(partner(Some(alice)), None), of(partner(None), None));
        assert_eq!(of(subject("a", "bc"), Some("svc-docs")), of(Principal::Service, Some("svc-docs")));
    }

    #[test]
    fn e11_a_network_of_ipv6_is_one_and_each_address_of_ipv4_another() {
        let at = |address: &str| Who::at(address.parse().unwrap());
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"), "the same address in other clothes");
    }

    #[test]
    fn a_key_tells_its_limit_and_its_principal() {
        let who = Who::at("192.0.2.1".parse().unwrap());
        for limit in 0..16 {
            assert_eq!(who.key(limit).limit(), usize::from(limit));
            assert_eq!(who.key(limit).principal(), who.key(0).principal());
        }
    }
}
