//! The configuration of the service: the chassis's four tables, the table's address and keys, the bank's own numbers, and
//! the bounds of the cache and of the saga, each with the reason for its default. Secrets are files; the values never
//! stand in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use chassis::config::{Edge, Identity, SecretFile, Server, ServiceConfig, Telemetry};
use serde::{Deserialize, Serialize};

use crate::domain::{CurrencyCode, IbanRange};

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen, and the bounds of it.
    pub server: Server,
    /// The workload's certificate, key and trust bundle.
    pub identity: Identity,
    /// The way out to other services.
    pub edge: Edge,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// The DynamoDB table.
    pub store: Store,
    /// What is the bank's own.
    pub bank: Bank,
    /// The shared cache.
    #[serde(default)]
    pub cache: Cache,
    /// The opening of accounts.
    #[serde(default)]
    pub opening: Saga,
    /// The freezing and closing of accounts, and their limits.
    #[serde(default)]
    pub changing: Saga,
    /// The granting of consents, and their revocation.
    #[serde(default)]
    pub granting: Saga,
    /// What payers are given for payees.
    pub payee: Payee,
}

/// `[payee]`: what payers are given for payees.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Payee {
    /// The keys of payee tokens (`chassis::seal`), which svc-ledger has too; watched.
    pub keys: PathBuf,
    /// How long a token is good, in seconds: as long as a person takes to fill in and confirm a payment, because what it says was
    /// true when it was made.
    #[serde(default = "Payee::token_s")]
    pub token_s: u32,
}

impl Payee {
    const fn token_s() -> u32 {
        900
    }
}

/// `[store]`: the DynamoDB table.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Another address than the region's. Plain HTTP is for development, where `create_table` is set.
    pub endpoint: Option<String>,
    /// The AWS region.
    pub region: String,
    /// The table's name.
    pub table: String,
    /// Whether to create the table when there is none; in production it is infrastructure.
    #[serde(default)]
    pub create_table: bool,
    /// Two lines, access key id and secret access key. Absent: the default AWS chain (workload identity).
    pub credentials_file: Option<SecretFile>,
    /// The key of the marks that stand in the table for addresses and requests, at least 32 bytes. All replicas share it;
    /// with another key every email and every request id would be unknown.
    pub email_key_file: SecretFile,
    /// How long a connection may take. The region is a millisecond away; a second is a lost packet and its repeat.
    #[serde(default = "Store::connect_ms")]
    pub connect_ms: u64,
    /// How long one attempt may take: two fit into the five seconds that most RPCs have.
    #[serde(default = "Store::attempt_ms")]
    pub attempt_ms: u64,
    /// How long an operation with all its attempts may take: below the default deadline of five seconds, so that the
    /// caller hears UNAVAILABLE with a reason and not a bare DEADLINE_EXCEEDED.
    #[serde(default = "Store::operation_ms")]
    pub operation_ms: u64,
    /// The first attempt and its repeats. The SDK's token bucket keeps repeats from making an outage worse.
    #[serde(default = "Store::attempts")]
    pub attempts: u32,
    /// The longest pause before the first repeat, doubled with each. The SDK's own, a second, is made for slower services:
    /// with it a single lost packet would use up most of an RPC's time.
    #[serde(default = "Store::backoff_ms")]
    pub backoff_ms: u64,
    /// How often to ask whether the table answers: twice within the period of a readiness probe.
    #[serde(default = "Store::probe_ms")]
    pub probe_ms: u64,
}

impl Store {
    const fn connect_ms() -> u64 {
        1_000
    }

    const fn attempt_ms() -> u64 {
        2_000
    }

    const fn operation_ms() -> u64 {
        4_500
    }

    const fn attempts() -> u32 {
        3
    }

    const fn backoff_ms() -> u64 {
        50
    }

    const fn probe_ms() -> u64 {
        2_000
    }
}

/// `[bank]`: what is the bank's own.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// ISO 3166, where the bank gives out IBANs.
    pub iban_country: String,
    /// The national bank code in them.
    pub iban_bank_code: String,
    /// ISO 4217 codes of the currencies in which accounts can be opened; the ledger must know them too.
    #[serde(default = "Bank::currencies")]
    pub currencies: Vec<CurrencyCode>,
    /// The largest overdraft that one member of staff may grant, in minor units of the account's currency. What may be
    /// overdrawn is money made by one pair of eyes, where the ledger asks for two.
    #[serde(default = "Bank::overdraft_limit_max")]
    pub overdraft_limit_max_minor_units: i64,
    /// How long a consent may last. Commission Delegated Regulation (EU) 2018/389, article 10, as amended by (EU) 2022/2360:
    /// after 180 days a customer must say again who may read.
    #[serde(default = "Bank::consent_days_max")]
    pub consent_days_max: u32,
}

impl Bank {
    const fn overdraft_limit_max() -> i64 {
        1_000_000
    }

    const fn consent_days_max() -> u32 {
        180
    }

    fn currencies() -> Vec<CurrencyCode> {
        ["EUR", "USD", "GBP", "CHF", "JPY"]
            .into_iter()
            .filter_map(|code| CurrencyCode::parse(code).ok())
            .collect()
    }

    /// The IBANs to give out.
    pub fn iban_range(&self) -> anyhow::Result<IbanRange> {
        IbanRange::new(&self.iban_country, &self.iban_bank_code)
            .context("[bank] iban_country, iban_bank_code")
    }
}

/// `[cache]`: how much the shared cache may cost.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// How long one question to the cache may take. A read of the table takes about as long at its worst: waiting longer
    /// for a cache would be slower than having none.
    pub budget_ms: u64,
    /// How long an account is kept. It bounds how old an answer may be when an invalidation got lost.
    pub time_to_live_ms: u64,
    /// How long one reader may keep the others from reading the table for the same account.
    pub lease_ms: u64,
    /// After so many failures in a row the cache is not asked for a while.
    pub failures_max: u32,
    /// How long it is then left alone; after that one question at a time tries again.
    pub rest_ms: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { budget_ms: 100, time_to_live_ms: 30_000, lease_ms: 1_000, failures_max: 3, rest_ms: 2_000 }
    }
}

/// `[opening]`, `[changing]`, `[granting]`: how what the ledger must know of gets there.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Saga {
    /// How long one call to the ledger may take: the default deadline of its RPC.
    pub ledger_ms: u64,
    /// How often works that were left behind are looked for.
    pub sweep_ms: u64,
    /// How old a work must be to count as left behind: younger ones are still driven by the RPC that asked.
    pub grace_ms: u64,
    /// How long a work that the ledger refused is left alone, doubled with each refusal up to an hour: it needs a
    /// person, and repeating it every second would only fill the log.
    pub refused_ms: u64,
}

impl Default for Saga {
    fn default() -> Self {
        Self { ledger_ms: 5_000, sweep_ms: 1_000, grace_ms: 3_000, refused_ms: 60_000 }
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
        self.bank.iban_range()?;
        ensure!(!self.bank.currencies.is_empty(), "[bank] currencies must name at least one");
        ensure!(
            self.bank.overdraft_limit_max_minor_units >= 0,
            "[bank] overdraft_limit_max_minor_units must not be negative"
        );
        ensure!(self.bank.consent_days_max > 0, "[bank] consent_days_max must be positive");
        ensure!(!self.store.region.is_empty(), "[store] region must not be empty");
        ensure!(!self.store.table.is_empty(), "[store] table must not be empty");
        ensure!(self.store.attempts > 0, "[store] attempts must be at least 1");
        if let Some(endpoint) = &self.store.endpoint {
            // Credentials are signed, not sent; but everything about customers would cross the network in the clear.
            ensure!(
                endpoint.starts_with("https://") || self.store.create_table,
                "[store] endpoint must be https; plain http is for development, with create_table"
            );
        }
        let waits = [
            ("[store] connect_ms", self.store.connect_ms),
            ("[store] attempt_ms", self.store.attempt_ms),
            ("[store] operation_ms", self.store.operation_ms),
            ("[store] backoff_ms", self.store.backoff_ms),
            ("[store] probe_ms", self.store.probe_ms),
            ("[cache] budget_ms", self.cache.budget_ms),
            ("[cache] time_to_live_ms", self.cache.time_to_live_ms),
            ("[cache] lease_ms", self.cache.lease_ms),
            ("[opening] ledger_ms", self.opening.ledger_ms),
            ("[opening] sweep_ms", self.opening.sweep_ms),
            ("[opening] refused_ms", self.opening.refused_ms),
            ("[changing] ledger_ms", self.changing.ledger_ms),
            ("[changing] sweep_ms", self.changing.sweep_ms),
            ("[changing] refused_ms", self.changing.refused_ms),
            ("[granting] ledger_ms", self.granting.ledger_ms),
            ("[granting] sweep_ms", self.granting.sweep_ms),
            ("[granting] refused_ms", self.granting.refused_ms),
        ];
        for (name, millis) in waits {
            ensure!(millis > 0, "{name} must be positive");
        }
        ensure!(self.payee.token_s > 0, "[payee] token_s must be positive");
        Ok(())
    }
}

/// A number of milliseconds from the file.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(store: &str, bank: &str) -> Config {
        let text = format!(
            r#"
            server = {{ listen = "127.0.0.1:7002", admin = "127.0.0.1:9102", edge_keys = "p" }}
            identity = {{ certificate = "c", key = "k", trust_bundle = "b", trust_domain = "causeway.test" }}
            edge = {{ addresses = ["127.0.0.1:8445"] }}
            store = {{ region = "eu-central-1", table = "accounts", email_key_file = "e", {store} }}
            bank = {{ iban_bank_code = "50010517", {bank} }}
            payee = {{ keys = "p" }}
            "#
        );
        toml::from_str(&text).expect("parses")
    }

    #[test]
    fn what_the_types_cannot_say_is_checked_and_named() {
        let bank = r#"iban_country = "DE""#;
        for (store, bank, expect) in [
            ("create_table = false", bank, ""),
            (r#"endpoint = "https://dynamodb.example.com""#, bank, ""),
            (r#"endpoint = "http://dynamodb:8000", create_table = true"#, bank, ""),
            (r#"endpoint = "http://dynamodb:8000""#, bank, "[store] endpoint"),
            ("attempts = 0", bank, "[store] attempts"),
            ("operation_ms = 0", bank, "[store] operation_ms"),
            ("create_table = false", r#"iban_country = "FR""#, "[bank] iban_country, iban_bank_code"),
            ("create_table = false", r#"iban_country = "DE", currencies = []"#, "[bank] currencies"),
            (
                "create_table = false",
                r#"iban_country = "DE", overdraft_limit_max_minor_units = -1"#,
                "[bank] overdraft_limit_max_minor_units",
            ),
            (
                "create_table = false",
                r#"iban_country = "DE", consent_days_max = 0"#,
                "[bank] consent_days_max",
            ),
        ] {
            let error =
                config(store, bank).check().err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(
                error.starts_with(expect) && error.is_empty() == expect.is_empty(),
                "{store} {bank}: {error}"
            );
        }
    }
}
