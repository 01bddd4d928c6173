//! The messages of the test contracts, by hand: generating them would cost every build of the edge a build script.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    #[prost(string, tag = "1")]
    pub note_id: String,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(int64, tag = "3")]
    pub size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetNoteRequest {
    #[prost(string, tag = "1")]
    pub note_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateNoteRequest {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(int64, tag = "2")]
    pub size: i64,
    #[prost(string, tag = "3")]
    pub request_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchNotesRequest {
    #[prost(int32, tag = "1")]
    pub count: i32,
    #[prost(bool, tag = "2")]
    pub fail: bool,
    #[prost(bool, tag = "3")]
    pub hang: bool,
    #[prost(int64, tag = "4")]
    pub after: i64,
    #[prost(bool, tag = "5")]
    pub late: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpBody {
    #[prost(string, tag = "1")]
    pub content_type: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UploadFileRequest {
    #[prost(string, tag = "1")]
    pub file_id: String,
    #[prost(message, optional, tag = "2")]
    pub content: Option<HttpBody>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct File {
    #[prost(string, tag = "1")]
    pub file_id: String,
    #[prost(string, tag = "2")]
    pub content_type: String,
    #[prost(int64, tag = "3")]
    pub bytes: i64,
    #[prost(int64, tag = "4")]
    pub messages: i64,
    #[prost(int64, tag = "5")]
    pub largest: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DownloadFileRequest {
    #[prost(string, tag = "1")]
    pub file_id: String,
    #[prost(int64, tag = "2")]
    pub bytes: i64,
    #[prost(bool, tag = "3")]
    pub fail: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AttachFileRequest {
    #[prost(string, tag = "1")]
    pub note_id: String,
    #[prost(message, optional, tag = "2")]
    pub attachment: Option<Attachment>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attachment {
    #[prost(string, tag = "1")]
    pub title: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub picture: Bytes,
    #[prost(message, optional, tag = "3")]
    pub scan: Option<HttpBody>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WhoAmIRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WhoAmIResponse {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub service: String,
    #[prost(string, tag = "3")]
    pub customer_id: String,
    #[prost(int32, tag = "4")]
    pub hops: i32,
    #[prost(int64, tag = "5")]
    pub budget_ms: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloRequest {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloReply {
    #[prost(string, tag = "1")]
    pub greeting: String,
}
