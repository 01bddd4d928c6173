//! Requests and what they made. The item is written in the transaction of the record itself, so that there is never one
//! without the other, and it is kept for as long as the record.

use super::Store;
use super::item::{Item, Reader, Writer, corrupt};
use super::key::Key;
use crate::domain::request::RecordedRequest;
use crate::domain::{Request, UnixMillis};
use crate::error::Error;

/// The item of a request that makes the record `made`.
pub(super) fn item(request: &Request, made: &impl ToString, now: UnixMillis) -> Item {
    Writer::at(&Key::request(request))
        .text("rpc", request.rpc())
        .texts("fields", request.fields())
        .text("made", made.to_string())
        .number("create_time", now.get())
        .done()
}

impl Store {
    /// Whether the request has made something before, with whatever body.
    pub async fn is_known(&self, request: &Request) -> Result<bool, Error> {
        Ok(self.get(&Key::request(request)).await?.is_some())
    }

    /// What the request made when it came the first time; an error when it came with another body. To be asked when the
    /// table has refused the request's item because there is one.
    pub(super) async fn made_before<T, E>(
        &self,
        request: &Request,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        let item = self.get(&Key::request(request)).await?.ok_or_else(|| corrupt("pk"))?;
        let item = Reader(&item);
        let recorded = RecordedRequest { rpc: item.text("rpc")?.to_owned(), fields: item.texts("fields")? };
        match request.differs_from(&recorded) {
            Some(field) => Err(Error::RequestIdReused { field }),
            None => item.parsed("made", parse),
        }
    }
}
