//! The DynamoDB table: the only place where customers and accounts are true. Reading order: [`key`] says which items
//! there are, `customer`, `account`, `opening`, `change`, `payee`, `consent` and `request` are the facts, `waiting` the lists of what is not
//! finished, `outbox` what others must hear of, `transact` and `query` the two ways to the table, `schema` the table itself. No rule of the business is here; what must hold between items is a condition of the
//! transaction that writes them.

mod account;
mod change;
mod consent;
mod customer;
pub mod fault;
mod item;
mod key;
mod opening;
mod outbox;
mod payee;
mod query;
mod request;
mod schema;
mod transact;
mod waiting;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

pub use account::Opened;
pub use change::Telling;
#[cfg(test)]
pub use consent::IN_FORCE_MAX;
pub use consent::{ConsentName, Given};
pub use customer::Created;
pub use opening::Unopened;
pub use outbox::Event;
pub use payee::Holding;
pub use waiting::{Waiting, WaitingPage};

use crate::config::{self, millis};
use crate::domain::Seal;
use crate::error::Error;
use key::Key;

/// The table, and the marks that stand in it for what must not be read there. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
    seal: Seal,
}

impl Store {
    /// Connects to the table and checks that it is one of ours; in development, makes it.
    pub async fn connect(config: &config::Store, seal: Seal) -> anyhow::Result<Self> {
        let client = Client::new(&sdk_config(config).await?);
        let store = Self { client, table: config.table.clone(), seal };
        store.ensure_table(config.create_table).await?;
        Ok(store)
    }

    /// What makes and checks the marks.
    pub const fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Whether the table answers. A read of the data plane: descriptions of tables are rationed for the whole account.
    pub async fn probe(&self) -> Result<(), Error> {
        self.get(&Key::probe()).await.map(drop)
    }
}

async fn sdk_config(config: &config::Store) -> anyhow::Result<aws_config::SdkConfig> {
    // The SDK would bring its own HTTP client with another crypto provider; the process has one, ring.
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(millis(config.connect_ms))
        .operation_attempt_timeout(millis(config.attempt_ms))
        .operation_timeout(millis(config.operation_ms))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(config.attempts)
        .with_initial_backoff(millis(config.backoff_ms));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(config.region.clone()))
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(file) = &config.credentials_file {
        let secret = file.read().context("[store] credentials_file")?;
        let (id, key) = secret
            .expose()
            .split_once('\n')
            .context("[store] credentials_file must hold two lines: access key id, secret access key")?;
        loader = loader.credentials_provider(Credentials::new(id.trim(), key.trim(), None, None, "file"));
    }
    Ok(loader.load().await)
}
