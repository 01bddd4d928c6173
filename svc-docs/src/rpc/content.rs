//! Content in and out. An upload goes into a new file, and the document takes the file in one conditional update at the end;
//! until then nothing that anyone can see has changed. A download waits for its first piece before it answers, so that a
//! store that is away is an error with a status and not a stream that breaks off.
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use proto::docs::v1 as pb;
use proto::google::api::HttpBody;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Bodies, DocsRpc, audit, convert, name, now};
use crate::domain::access::{Act, Actor};
use crate::domain::audit::Witness;
use crate::domain::document::{Content, Document, DocumentId, FileId, MediaType};
use crate::error::Error;
use crate::store::{Upload, UploadError};

/// How long an upload may take. The sweeper leaves a new file alone for twice as long.
const UPLOAD_MAX: Duration = Duration::from_secs(3600);

/// How often the swap is tried when others write the same document.
const SWAPS_MAX: u32 = 3;

impl DocsRpc {
    /// Replaces the content of the document that the first message names.
    ///
    /// # Errors
    /// As the contract says; a stream that breaks off gives the error it broke off with.
    pub(super) async fn upload(
        &self,
        actor: &Actor,
        witness: &Witness,
        mut messages: Streaming<pb::UploadContentRequest>,
    ) -> Result<Document, Status> {
        let first = messages.message().await?.unwrap_or_default();
        let (id, media_type, bytes) = convert::upload_first(first)?;
        let resource = name(id);
        match self.take_upload(actor, witness, (id, media_type, bytes), messages).await {
            Ok(document) => Ok(document),
            Err(Broken::Stream(status)) => Err(status),
            Err(Broken::Refused(error)) => {
                self.record_refusal(witness, &error, Some(resource)).await;
                Err(error.into())
            }
        }
    }

    async fn take_upload(
        &self,
        actor: &Actor,
        witness: &Witness,
        (id, media_type, bytes): (DocumentId, MediaType, Bytes),
        mut messages: Streaming<pb::UploadContentRequest>,
    ) -> Result<Document, Broken> {
        let uploading = async {
            let document = self.document(actor, Act::Write, id).await?;
            if document.statement.is_some() {
                return Err(Error::StatementFixed { document_id: id.to_string() }.into());
            }
            let file = FileId(Uuid::now_v7());
            let mut upload =
                self.store.begin_upload(file, self.bytes_max, now()).await.map_err(Error::from)?;
            if let Err(broken) = receive(&mut upload, id, &media_type, &bytes, &mut messages).await {
                upload.abandon().await;
                return Err(broken);
            }
            let content = upload.finish(media_type).await.map_err(Error::from)?;
            let document = self.swap(actor, witness, document, &content).await?;
            self.metrics.uploaded(content.size_bytes);
            Ok(document)
        };
        tokio::time::timeout(UPLOAD_MAX, uploading).await.unwrap_or_else(|_| Err(Error::OutOfTime.into()))
    }

    /// Gives the document the new content. Replacing is last-writer-wins: if somebody else wrote in the meantime, it is tried
    /// again over what they wrote, after looking again whether the actor may.
    async fn swap(
        &self,
        actor: &Actor,
        witness: &Witness,
        mut document: Document,
        content: &Content,
    ) -> Result<Document, Error> {
        for _ in 0..SWAPS_MAX {
            let event = audit::done(witness, name(document.id));
            // When this fails midway, nobody knows whether the document holds the file: it is left to the sweeper, who looks.
            if let Some(replaced) = self.store.replace_content(&document, content, &event, now()).await? {
                return Ok(replaced);
            }
            document = match self.document(actor, Act::Write, document.id).await {
                Ok(document) => document,
                Err(error) => {
                    self.store.discard(content.file).await;
                    return Err(error);
                }
            };
        }
        self.store.discard(content.file).await;
        Err(Error::Contended)
    }

    /// The content of a document, the media type with the first piece.
    pub(super) async fn download(&self, actor: &Actor, id: DocumentId) -> Result<Bodies, Error> {
        let document = self.document(actor, Act::Read, id).await?;
        let content = document.content.ok_or_else(|| Error::NoContent { document_id: id.to_string() })?;
        let mut pieces = Box::pin(self.store.read(&content));
        let first = pieces.next().await.transpose()?.unwrap_or_default();
        let moved = self.metrics.downloads();
        let mut media_type = Some(content.media_type.as_str().to_owned());
        let bodies = stream::once(async { Ok(first) }).chain(pieces).map(move |piece| {
            let data = piece.map_err(Error::from)?;
            moved.inc_by(data.len() as u64);
            Ok(HttpBody { content_type: media_type.take().unwrap_or_default(), data, extensions: vec![] })
        });
        Ok(Box::pin(bodies))
    }
}

/// Writes what comes until the sender is done. The next message is read only after the store has taken the last one, and the
/// windows of HTTP/2 pass that on to the sender.
async fn receive(
    upload: &mut Upload,
    id: DocumentId,
    media_type: &MediaType,
    first: &[u8],
    messages: &mut Streaming<pb::UploadContentRequest>,
) -> Result<(), Broken> {
    upload.write(first).await.map_err(Error::from)?;
    while let Some(message) = messages.message().await? {
        let bytes = convert::upload_next(message, id, media_type)?;
        upload.write(&bytes).await.map_err(Error::from)?;
    }
    Ok(())
}

/// Why an upload has come to nothing.
enum Broken {
    /// We refuse it, or have failed.
    Refused(Error),
    /// The sender has broken off.
    Stream(Status),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Stream(status)
    }
}

impl From<UploadError> for Error {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooLarge { bytes_max } => Self::ContentTooLarge { bytes_max },
            UploadError::Store(error) => error.into(),
        }
    }
}
