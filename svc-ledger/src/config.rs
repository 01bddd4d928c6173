//! The configuration of svc-ledger: the chassis's four tables, the store, and what the ledger offers. Values have their reason
//! beside them; nothing is read from the environment.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Edge, Identity, SecretFile, Server, ServiceConfig, Telemetry};
use serde::{Deserialize, Serialize};

use crate::domain::currency::Currency;

/// The file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub server: Server,
    /// Who it is.
    pub identity: Identity,
    /// The way out.
    pub edge: Edge,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// PostgreSQL.
    pub store: Store,
    /// What the ledger offers.
    pub ledger: Ledger,
    /// How payees are named.
    pub payee: Payee,
    /// What it signs with.
    pub proof: Proof,
}

/// `[payee]`: how payees are named.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Payee {
    /// The keys of payee tokens (`chassis::seal`), which svc-accounts has too; watched. An old key is kept for as long as somebody may
    /// come back with a request of its time.
    pub keys: PathBuf,
}

/// `[store]`: PostgreSQL, always by TLS with the server's name checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Of the service role, without a password: `postgres://ledger@host:5432/ledger`.
    pub url: String,
    /// The service role's password.
    pub password_file: SecretFile,
    /// The roots the server's certificate must lead to; the system's when absent.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Connections for reads. Writes have one of their own: more writers only wait for one another at the head.
    #[serde(default = "defaults::connections")]
    pub connections: u32,
    /// Of the owner role. When present, migrations run at start; when absent, the schema must be there already.
    #[serde(default)]
    pub migrate_url: Option<String>,
    /// The owner role's password.
    #[serde(default)]
    pub migrate_password_file: Option<SecretFile>,
    /// The role migrations admit to the schema: that of `url`.
    #[serde(default = "defaults::service_role")]
    pub service_role: String,
    /// How many writes may wait for the next batch; more are refused at once. Two full batches: about a tenth of a second. Those
    /// that come several together have half as much room of their own.
    #[serde(default = "defaults::queue_max")]
    pub queue_max: usize,
    /// Writes in one batch. Beyond 2,000 the cost of a write does not fall any more, and the latency of all of them grows.
    #[serde(default = "defaults::batch_max")]
    pub batch_max: usize,
    /// The longest one statement or one batch may take before the connection is given up. Below the shortest money deadline
    /// (10 s), so that a stuck server is noticed while callers still wait.
    #[serde(default = "defaults::timeout_ms")]
    pub timeout_ms: u64,
}

/// `[ledger]`: what the ledger offers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// ISO 4217 codes: the bank has its own accounts in each, and customers' accounts may be opened in them.
    pub currencies: Vec<String>,
    /// What this bank's own IBANs begin with but for their check digits: country and bank code ("DE50010517"). Payments there are
    /// no external ones.
    #[serde(default)]
    pub own_ibans: Vec<String>,
    /// The partners that carry out payments to other banks, as the edge maps their certificates.
    #[serde(default)]
    pub rail_partners: Vec<String>,
    /// Streams of entries and of the journal at once. Each keeps a page in memory and asks the store twice a second at most.
    #[serde(default = "defaults::watchers_max")]
    pub watchers_max: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        let (currencies, own_ibans, rail_partners) = (Vec::new(), Vec::new(), Vec::new());
        Self { currencies, own_ibans, rail_partners, watchers_max: defaults::watchers_max() }
    }
}

/// `[proof]`: how the ledger vouches for its journal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The PEM file of the Ed25519 key that signs heads, the same for every replica.
    pub signing_key: PathBuf,
    /// How often the head is signed and sent to its keeper, if it has moved. What is younger cannot be proven yet, and what
    /// somebody rewrites within that time is not found out by the keeper.
    #[serde(default = "defaults::sign_every_ms")]
    pub sign_every_ms: u64,
}

impl Proof {
    /// [`Proof::sign_every_ms`] as a duration.
    #[must_use]
    pub const fn sign_every(&self) -> Duration {
        Duration::from_millis(self.sign_every_ms)
    }

    fn check(&self) -> anyhow::Result<()> {
        let fits = (100..=3_600_000).contains(&self.sign_every_ms);
        anyhow::ensure!(fits, "proof.sign_every_ms must be 100 to 3600000");
        Ok(())
    }
}

mod defaults {
    pub const fn watchers_max() -> usize {
        500
    }
    pub const fn sign_every_ms() -> u64 {
        10_000
    }
    pub const fn connections() -> u32 {
        8
    }
    pub fn service_role() -> String {
        "ledger".to_owned()
    }
    pub const fn queue_max() -> usize {
        4_000
    }
    pub const fn batch_max() -> usize {
        2_000
    }
    pub const fn timeout_ms() -> u64 {
        5_000
    }
}

impl Store {
    /// [`Store::timeout_ms`] as a duration.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn check(&self) -> anyhow::Result<()> {
        for (key, url) in [("url", Some(&self.url)), ("migrate_url", self.migrate_url.as_ref())] {
            let postgres =
                url.is_none_or(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"));
            anyhow::ensure!(postgres, "store.{key} must begin with postgres://");
            // The configuration is printed at start; a password in it would be too.
            let open = url.is_none_or(|url| !has_password(url));
            anyhow::ensure!(open, "store.{key} must not hold a password; name a file of it");
        }
        anyhow::ensure!(
            self.migrate_url.is_some() || self.migrate_password_file.is_none(),
            "store.migrate_password_file needs store.migrate_url"
        );
        anyhow::ensure!((1..=1_000).contains(&self.connections), "store.connections must be 1 to 1000");
        anyhow::ensure!((1..=10_000).contains(&self.batch_max), "store.batch_max must be 1 to 10000");
        anyhow::ensure!((1..=1_000_000).contains(&self.queue_max), "store.queue_max must be 1 to 1000000");
        anyhow::ensure!((100..=60_000).contains(&self.timeout_ms), "store.timeout_ms must be 100 to 60000");
        Ok(())
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.split_once('@').is_some_and(|(user, _)| user.contains(':')) || url.contains("password=")
}

impl Ledger {
    /// The currencies offered, sorted, each once.
    ///
    /// # Errors
    /// When a code is none of an active currency with a minor unit, or when there is none at all.
    pub fn offered(&self) -> anyhow::Result<Vec<Currency>> {
        let mut offered = Vec::with_capacity(self.currencies.len());
        for code in &self.currencies {
            let currency = Currency::parse(code);
            offered.push(
                currency
                    .ok_or_else(|| anyhow::anyhow!("ledger.currencies: {code:?} is no ISO 4217 currency"))?,
            );
        }
        anyhow::ensure!(!offered.is_empty(), "ledger.currencies is empty");
        let plain = |text: &String| {
            text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        };
        anyhow::ensure!(
            self.own_ibans.iter().all(plain),
            "ledger.own_ibans: each is a country and a bank code"
        );
        offered.sort_unstable();
        offered.dedup();
        Ok(offered)
    }
}

impl ServiceConfig for Config {
    fn server(&self) -> &Server {
        &self.server
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn check(&self) -> anyhow::Result<()> {
        self.store.check()?;
        self.proof.check()?;
        self.ledger.offered().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(url: &str) -> Store {
        Store {
            url: url.to_owned(),
            password_file: SecretFile::new("/nowhere"),
            ca: None,
            connections: defaults::connections(),
            migrate_url: None,
            migrate_password_file: None,
            service_role: defaults::service_role(),
            queue_max: defaults::queue_max(),
            batch_max: defaults::batch_max(),
            timeout_ms: defaults::timeout_ms(),
        }
    }

    #[test]
    fn mistakes_in_the_store_are_named() {
        assert!(store("postgres://ledger@db:5432/ledger").check().is_ok());
        let good = || store("postgres://ledger@db/ledger");
        let cases = [
            (store("mysql://ledger@db/ledger"), "store.url must begin"),
            (store("postgres://ledger:secret@db/ledger"), "store.url must not hold a password"),
            (store("postgres://db/ledger?user=ledger&password=secret"), "store.url must not hold a password"),
            (
                Store { migrate_password_file: Some(SecretFile::new("/x")), ..good() },
                "store.migrate_password_file",
            ),
            (Store { connections: 0, ..good() }, "store.connections"),
            (Store { batch_max: 0, ..good() }, "store.batch_max"),
            (Store { timeout_ms: 1, ..good() }, "store.timeout_ms"),
        ];
        for (store, expect) in cases {
            let error = store.check().unwrap_err().to_string();
            assert!(error.starts_with(expect) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn currencies_are_checked_and_sorted() {
        let offered = |codes: &[&str]| {
            Ledger { currencies: codes.iter().map(|code| (*code).to_owned()).collect(), ..Ledger::default() }
                .offered()
        };
        let codes: Vec<_> =
            offered(&["USD", "EUR", "USD"]).unwrap().into_iter().map(Currency::code).collect();
        assert_eq!(codes, ["EUR", "USD"]);
        for wrong in [&["XXX"][..], &["eur"], &[]] {
            assert!(offered(wrong).is_err(), "{wrong:?}");
        }
    }
}
