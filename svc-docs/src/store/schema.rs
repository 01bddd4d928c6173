//! The indexes of svc-docs, made at start; making one that exists does nothing. They are part of the promises: the unique one
//! over requests is what makes a repeated request harmless.
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::{Store, StoreError};

impl Store {
    pub(super) async fn create_indexes(&self) -> Result<(), StoreError> {
        let documents = [
            unique("request", doc! { "request.scope": 1, "request.id": 1 }),
            index("customer", doc! { "customer_id": 1, "_id": -1 }),
            // For the sweeper's question whether anything holds a file.
            index("file", doc! { "content.file": 1 }),
        ];
        self.within(self.documents.create_indexes(documents)).await?;
        let audit = [
            index("customer", doc! { "principal.customer_id": 1, "_id": -1 }),
            index("rpc", doc! { "rpc": 1, "_id": -1 }),
            index("transaction", doc! { "transaction_id": 1, "_id": -1 }),
        ];
        self.within(self.audit.create_indexes(audit)).await?;
        self.within(self.loose.create_index(index("due", doc! { "due": 1 }))).await?;
        // GridFS demands it. The driver makes one too, but only with the first upload and not unique.
        self.within(self.chunks.create_index(unique("chunk", doc! { "files_id": 1, "n": 1 }))).await?;
        Ok(())
    }
}

fn index(name: &str, keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name.to_owned()).build()).build()
}

fn unique(name: &str, keys: Document) -> IndexModel {
    let options = IndexOptions::builder().name(name.to_owned()).unique(true).build();
    IndexModel::builder().keys(keys).options(options).build()
}
