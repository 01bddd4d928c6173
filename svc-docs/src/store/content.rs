//! Content as GridFS files. A file is written once, measured and hashed while it is written, and read in small pieces that are
//! hashed again. Uploads go through the driver's bucket; downloads read the chunks with a cursor of small batches, because the
//! bucket's own stream takes 16 MiB at a time however slowly the reader reads.
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{AsyncWriteExt as _, Stream};
use mongodb::bson::{Binary, Bson, doc};
use mongodb::error::Error;
use mongodb::gridfs::GridFsUploadStream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Store, StoreError};
use crate::domain::document::{Content, FileId, MediaType};

/// The most bytes of one piece of a download.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Chunks of 255 KiB that are fetched at a time: the memory of one download is about this much.
const CHUNKS_AHEAD: u32 = 4;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    n: i32,
    data: Binary,
}

/// A file being written. Dropping it removes what was written, as far as MongoDB can be reached; the sweeper does the rest.
pub struct Upload {
    store: Store,
    stream: GridFsUploadStream,
    file: FileId,
    size_bytes: u64,
    bytes_max: u64,
    hash: Sha256,
}

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Begins a file of at most `bytes_max` bytes.
    pub async fn begin_upload(
        &self,
        file: FileId,
        bytes_max: u64,
        now: DateTime<Utc>,
    ) -> Result<Upload, StoreError> {
        self.mark_loose(file, now).await?;
        let name = file.to_string();
        let stream = self.within(self.bucket.open_upload_stream(&name).id(Bson::from(name.as_str()))).await?;
        Ok(Upload { store: self.clone(), stream, file, size_bytes: 0, bytes_max, hash: Sha256::new() })
    }

    /// The content in pieces of at most 64 KiB. Ends with an error instead of a last piece if it is not what was uploaded.
    pub fn read(&self, content: &Content) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        let (store, content) = (self.clone(), content.clone());
        async_stream::try_stream! {
            let damaged = |detail| StoreError::Damaged { what: "content", detail: format!("{detail} of {}", content.file) };
            let filter = doc! { "files_id": content.file.to_string() };
            let chunks = store.chunks.find(filter).sort(doc! { "n": 1 }).batch_size(CHUNKS_AHEAD);
            let mut chunks = store.within(chunks).await?;
            let (mut hash, mut size_bytes, mut expected) = (Sha256::new(), 0, 0);
            while store.within(chunks.advance()).await? {
                let Chunk { n, data } = chunks.deserialize_current()?;
                if n != expected {
                    Err(damaged("a chunk is missing"))?;
                }
                expected += 1;
                hash.update(&data.bytes);
                size_bytes += data.bytes.len() as u64;
                let mut rest = Bytes::from(data.bytes);
                while rest.len() > PIECE_BYTES_MAX {
                    yield rest.split_to(PIECE_BYTES_MAX);
                }
                // The last piece of all is held back until the whole is known to be good.
                if size_bytes >= content.size_bytes
                    && (size_bytes != content.size_bytes || format!("{:x}", hash.clone().finalize()) != content.sha256)
                {
                    Err(damaged("the hash"))?;
                }
                yield rest;
            }
            if size_bytes != content.size_bytes {
                Err(damaged("the end"))?;
            }
        }
    }
}

impl Upload {
    /// Appends bytes. Returns when MongoDB has taken them, which is what slows a sender that is faster.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        if size_bytes > self.bytes_max {
            return Err(UploadError::TooLarge { bytes_max: self.bytes_max });
        }
        self.hash.update(bytes);
        self.size_bytes = size_bytes;
        self.store.within(async { self.stream.write_all(bytes).await.map_err(driver_error) }).await?;
        Ok(())
    }

    /// Ends the file. It stays loose until a document holds it.
    pub async fn finish(mut self, media_type: MediaType) -> Result<Content, StoreError> {
        self.store.within(async { self.stream.close().await.map_err(driver_error) }).await?;
        let sha256 = format!("{:x}", self.hash.finalize());
        Ok(Content { file: self.file, media_type, size_bytes: self.size_bytes, sha256 })
    }

    /// Gives the file up and removes what was written; what is written late is the sweeper's.
    pub async fn abandon(self) {
        let Self { store, stream, file, .. } = self;
        drop(stream);
        store.clear(file).await;
    }
}

/// The bucket speaks `std::io::Error`, with the driver's error inside.
fn driver_error(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::from(error),
    }
}
