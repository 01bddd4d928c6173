//! `[rate_limits]`, ready to be asked: for each class and kind of principal the numbers of its bucket and what clients are told
//! of it.

use std::sync::Arc;

use http::HeaderValue;
use ipnet::IpNet;
use prometheus_client::metrics::counter::Counter;

use super::config::{CLASSES, Config, Quota};
use super::metrics::Metrics;
use super::{Scope, fields};
use crate::policy::RateClass;
use crate::rate::Kind;

/// All limits.
#[derive(Debug)]
pub(super) struct Limits {
    by_place: [Option<Arc<Limit>>; CLASSES.len() * Kind::ALL.len()],
    pub(super) trusted_proxies: Vec<IpNet>,
}

/// One limit: each principal of a kind has a bucket of this size for the methods of a class.
#[derive(Debug)]
pub(super) struct Limit {
    /// Its place among the limits: part of the keys of its buckets.
    pub(super) index: u8,
    pub(super) class: &'static str,
    pub(super) kind: Kind,
    pub(super) quota: Quota,
    pub(super) rate: Rate,
    /// The value of `RateLimit-Policy`; none if clients are told nothing.
    pub(super) policy: Option<HeaderValue>,
    refused_local: Counter,
    refused_shared: Counter,
}

/// The numbers of a bucket, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// One request comes in this often.
    pub(super) each: u64,
    /// How far ahead of the clock a bucket may be: what an empty one is.
    pub(super) room: u64,
}

impl Limits {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let by_place = std::array::from_fn(|place| {
            let ((class, name), kind) =
                (CLASSES[place / Kind::ALL.len()], Kind::ALL[place % Kind::ALL.len()]);
            let quota = config.quota(class, kind)?;
            Some(Arc::new(Limit {
                index: u8::try_from(place).unwrap_or(u8::MAX),
                class: name,
                kind,
                quota,
                rate: Rate::of(quota),
                policy: config.fields.then(|| fields::policy(name, quota)).flatten(),
                refused_local: metrics.refused(name, kind, Scope::Local),
                refused_shared: metrics.refused(name, kind, Scope::Shared),
            }))
        });
        Self { by_place, trusted_proxies: config.trusted_proxies.clone() }
    }

    /// The limit of a kind of principal in a class, if there is one.
    pub(super) fn of(&self, class: RateClass, kind: Kind) -> Option<&Arc<Limit>> {
        self.at(class as usize * Kind::ALL.len() + kind as usize)
    }

    /// The limit that has this place.
    pub(super) fn at(&self, place: usize) -> Option<&Arc<Limit>> {
        self.by_place.get(place)?.as_ref()
    }
}

impl Limit {
    /// A request was refused.
    pub(super) fn refused(&self, scope: Scope) {
        match scope {
            Scope::Local => self.refused_local.inc(),
            Scope::Shared => self.refused_shared.inc(),
        };
    }
}

impl Rate {
    fn of(quota: Quota) -> Self {
        let requests = u64::from(quota.requests.max(1));
        let each = (u64::from(quota.window_s) * 1_000_000_000 / requests).max(1);
        // Not the window: what division dropped must not leave room for one more.
        Self { each, room: each * requests }
    }

    /// How far ahead of the clock a bucket may be at most: empty, and owing as much again to the other edges.
    pub(super) const fn most(self) -> u64 {
        self.room * 2
    }

    /// How many requests a bucket still holds that is this far ahead of the clock.
    pub(super) const fn left(self, ahead: u64) -> u64 {
        self.room.saturating_sub(ahead) / self.each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_kind_has_a_place_of_its_own() {
        let metrics = Metrics::register(&chassis::metrics::Metrics::default());
        let some = Quota { requests: 7, window_s: 1 };
        let mut config = Config::default();
        config.heavy.service = Some(some);
        let limits = Limits::new(&config, &metrics);
        for (class, name) in CLASSES {
            for kind in Kind::ALL {
                let limit = limits.of(class, kind);
                assert_eq!(limit.map(|limit| limit.quota), config.quota(class, kind));
                let Some(limit) = limit else { continue };
                assert_eq!((limit.class, limit.kind), (name, kind));
                assert!(Arc::ptr_eq(limits.at(usize::from(limit.index)).unwrap(), limit));
            }
        }
        assert_eq!(limits.of(RateClass::Heavy, Kind::Service).unwrap().quota, some);
        assert!(limits.of(RateClass::Read, Kind::Service).is_none(), "services have no limit by default");
        config.enabled = false;
        assert!(Limits::new(&config, &metrics).of(RateClass::Read, Kind::Subject).is_none());
    }

    #[test]
    fn a_bucket_never_holds_one_more_than_its_quota() {
        for requests in [1, 3, 7, 999_999, 1_000_000] {
            let rate = Rate::of(Quota { requests, window_s: 1 });
            assert_eq!(rate.left(0), u64::from(requests));
            assert_eq!(rate.left(rate.room), 0);
        }
    }
}
