//! What svc-docs keeps in MongoDB: documents (statements are documents too), their content as GridFS files, the list of files that
//! no document may hold, the audit events of the whole mesh, and the
//! heads of the ledger's journal. Every operation is bounded in time, and writes are acknowledged by a majority's journal.
mod audit;
mod content;
mod documents;
mod heads;
mod loose;
mod record;
mod schema;

pub use content::{Upload, UploadError};
pub use documents::Inserted;

use std::time::Duration;

use anyhow::Context as _;
use mongodb::bson::doc;
use mongodb::error::ErrorKind;
use mongodb::gridfs::GridFsBucket;
use mongodb::options::{
    ClientOptions, Credential, GridFsBucketOptions, ReadConcern, Tls, TlsOptions, WriteConcern,
};
use mongodb::{Client, Collection, Database};

use crate::config::StoreConfig;
use audit::EventRecord;
use content::Chunk;
use heads::HeadRecord;
use loose::Loose;
use record::Record;

/// How often the monitor asks whether MongoDB is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Connections to each server. An operation holds one for milliseconds; streams hold none between pieces.
const CONNECTIONS_MAX: u32 = 32;

/// The names of GridFS collections begin with it.
const BUCKET: &str = "content";

/// Why MongoDB did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("mongodb did not answer in time")]
    TimedOut,
    #[error(transparent)]
    Mongo(Box<mongodb::error::Error>),
    /// What was read is not what was written.
    #[error("stored {what} is damaged: {detail}")]
    Damaged { what: &'static str, detail: String },
}

impl From<mongodb::error::Error> for StoreError {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Mongo(Box::new(error))
    }
}

impl StoreError {
    /// Whether it may go away by itself.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Damaged { .. } => false,
            Self::Mongo(error) => {
                error.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR)
                    || matches!(
                        *error.kind,
                        ErrorKind::Io(_)
                            | ErrorKind::ServerSelection { .. }
                            | ErrorKind::ConnectionPoolCleared { .. }
                            | ErrorKind::DnsResolve { .. }
                            | ErrorKind::Authentication { .. }
                    )
            }
        }
    }
}

/// The store. A clone shares the connections.
#[derive(Clone)]
pub struct Store {
    database: Database,
    documents: Collection<Record>,
    audit: Collection<EventRecord>,
    heads: Collection<HeadRecord>,
    loose: Collection<Loose>,
    chunks: Collection<Chunk>,
    bucket: GridFsBucket,
    timeout: Duration,
}

impl Store {
    /// Connects, and makes the indexes that the rest relies on.
    ///
    /// # Errors
    /// A URL or certificate that cannot be used, a wrong password, or a server that is away.
    pub async fn connect(config: &StoreConfig) -> anyhow::Result<Self> {
        let client = Client::with_options(options(config).await?)?;
        let database = client.database(&config.database);
        let bucket = GridFsBucketOptions::builder().bucket_name(BUCKET.to_owned()).build();
        let store = Self {
            documents: database.collection("documents"),
            audit: database.collection("audit_events"),
            heads: database.collection("journal_heads"),
            loose: database.collection("loose_files"),
            chunks: database.collection(&format!("{BUCKET}.chunks")),
            bucket: database.gridfs_bucket(bucket),
            database,
            timeout: config.timeout(),
        };
        store.ping().await.context("cannot connect")?;
        store.create_indexes().await.context("cannot make the indexes")?;
        Ok(store)
    }

    /// Asks MongoDB every second whether it is there, and tells, until dropped.
    pub async fn monitor(&self, tell: impl Fn(bool)) {
        let mut was_up = true;
        loop {
            let answer = self.ping().await;
            let up = answer.is_ok();
            if let Err(error) = answer
                && was_up
            {
                tracing::warn!(%error, "mongodb is away");
            }
            was_up = up;
            tell(up);
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.within(self.database.run_command(doc! { "ping": 1 })).await.map(|_| ())
    }

    /// Bounds an operation in time. The driver's own limits cover single steps, not all of them together.
    async fn within<T>(
        &self,
        operation: impl IntoFuture<Output = Result<T, mongodb::error::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, operation.into_future()).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(StoreError::TimedOut),
        }
    }
}

async fn options(config: &StoreConfig) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::parse(&config.url).await?;
    let password = config.password_file.read()?;
    let credential = options.credential.get_or_insert_with(Credential::default);
    credential.password = Some(password.expose().to_owned());
    std::fs::metadata(&config.ca).with_context(|| format!("reading {}", config.ca.display()))?;
    options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(config.ca.clone()).build()));
    options.app_name = Some("svc-docs".to_owned());
    options.max_pool_size = Some(CONNECTIONS_MAX);
    options.connect_timeout = Some(config.timeout());
    options.server_selection_timeout = Some(config.timeout());
    // An acknowledged document survives the loss of a server; what is read was acknowledged.
    options.write_concern =
        Some(WriteConcern::builder().w(mongodb::options::Acknowledgment::Majority).journal(true).build());
    options.read_concern = Some(ReadConcern::majority());
    Ok(options)
}
