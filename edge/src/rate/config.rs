//! `[rate_limits]`: how much each kind of principal may do in each class. What is absent has a default: generous for people at a
//! screen, real for a program that has gone wild.

use anyhow::ensure;
use chassis::config::SecretFile;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::who::Kind;
use crate::policy::RateClass;

/// The table.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether requests are counted at all.
    pub enabled: bool,
    /// Whether answers carry `RateLimit` and `RateLimit-Policy`.
    pub fields: bool,
    /// How many buckets that are not full are remembered, at 24 bytes each. Beyond them the fullest are forgotten.
    pub entries_max: usize,
    /// Networks whose `X-Forwarded-For` is believed: the load balancers in front of the edge, and nothing else.
    pub trusted_proxies: Vec<IpNet>,
    /// How often what was let through is told to the provider, if there is one. What two edges let through in the meantime
    /// is paid back, not refused.
    pub report_ms: u64,
    /// A secret that all edges share. Principals are told to the provider as hashes under it; without one, whoever can read
    /// the provider's store can find out which addresses have called by trying them all.
    pub secret_file: Option<SecretFile>,
    /// Cheap reads.
    pub read: ClassQuotas,
    /// Writes.
    pub write: ClassQuotas,
    /// Writes that move money.
    pub money: ClassQuotas,
    /// Searches, exports and statements.
    pub heavy: ClassQuotas,
}

/// The quotas of one class; what is absent is as [`Config::quota`] says.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassQuotas {
    pub subject: Option<Quota>,
    pub partner: Option<Quota>,
    pub service: Option<Quota>,
    pub anonymous: Option<Quota>,
}

/// A bucket that holds `requests` and gets as many anew in `window_s`, evenly: so many at once, and so many a window for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// 0: no limit.
    pub requests: u32,
    /// In seconds.
    pub window_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            fields: true,
            entries_max: 65_536,
            trusted_proxies: Vec::new(),
            report_ms: 50,
            secret_file: None,
            read: ClassQuotas::default(),
            write: ClassQuotas::default(),
            money: ClassQuotas::default(),
            heavy: ClassQuotas::default(),
        }
    }
}

/// What the provider takes, too.
const REQUESTS_MAX: u32 = 1_000_000;
const WINDOW_S_MAX: u32 = 86_400;

impl Config {
    /// The quota of a kind of principal in a class; none is no limit.
    #[must_use]
    pub fn quota(&self, class: RateClass, kind: Kind) -> Option<Quota> {
        let quotas = match class {
            RateClass::Read => &self.read,
            RateClass::Write => &self.write,
            RateClass::Money => &self.money,
            RateClass::Heavy => &self.heavy,
        };
        let quota = match kind {
            Kind::Subject => quotas.subject,
            Kind::Partner => quotas.partner,
            Kind::Service => quotas.service,
            Kind::Anonymous => quotas.anonymous,
        };
        let quota = quota.unwrap_or(default(class, kind));
        (self.enabled && quota.requests > 0).then_some(quota)
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// One line naming the key.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((64..=1 << 24).contains(&self.entries_max), "entries_max is between 64 and 16777216");
        ensure!((10..=10_000).contains(&self.report_ms), "report_ms is between 10 and 10000");
        for (class, name) in CLASSES {
            for kind in Kind::ALL {
                let Some(quota) = self.quota(class, kind) else { continue };
                let name = format!("{name}.{}", kind.as_str());
                ensure!(quota.requests <= REQUESTS_MAX, "{name}.requests is at most {REQUESTS_MAX}");
                ensure!(
                    (1..=WINDOW_S_MAX).contains(&quota.window_s),
                    "{name}.window_s is between 1 and {WINDOW_S_MAX}"
                );
            }
        }
        Ok(())
    }
}

/// The classes with their names, each at the place its number says.
pub(super) const CLASSES: [(RateClass, &str); 4] = [
    (RateClass::Read, "read"),
    (RateClass::Write, "write"),
    (RateClass::Money, "money"),
    (RateClass::Heavy, "heavy"),
];

/// A person clicks; a page of a web application makes some ten calls. A partner stands for thousands of persons. An address may be
/// a household, an office or a mobile network, whose customers have tokens. What services do was asked of them by others.
const fn default(class: RateClass, kind: Kind) -> Quota {
    let requests = match (class, kind) {
        (RateClass::Read, Kind::Subject) => 1_200,
        (RateClass::Read, Kind::Partner) => 30_000,
        (RateClass::Read, Kind::Anonymous) => 600,
        (RateClass::Write, Kind::Subject) => 300,
        (RateClass::Money, Kind::Subject) => 120,
        (RateClass::Write | RateClass::Money, Kind::Partner) => 6_000,
        (RateClass::Write | RateClass::Money, Kind::Anonymous) => 60,
        (RateClass::Heavy, Kind::Subject) => 60,
        (RateClass::Heavy, Kind::Partner) => 600,
        (RateClass::Heavy, Kind::Anonymous) => 30,
        (RateClass::Read | RateClass::Write | RateClass::Money | RateClass::Heavy, Kind::Service) => 0,
    };
    Quota { requests, window_s: 60 }
}
