//! A compiled binding at work: a REST request becomes the bytes of a gRPC message, the bytes of an answer become JSON, raw
//! bytes or headers. Everything here is decided by the plan; nothing is looked up by descriptor.

use std::sync::Arc;
use std::time::Duration;

use super::assigned::Giver;
use super::bind::{Binder, Closed, Scope, field_at, proto_name};
use super::compile::{Body, BoundVariable, LocationPart};
use super::encode::{Encoder, Mask};
use super::form::Media;
use super::json::Reader;
use super::multipart::File;
use super::print::{self, Printer};
use super::types::{FieldId, Kind, MessageId, Types};
use super::{
    BindingKind, HttpBody, Options, RequestError, ResponseError, RestRequest, Selection, Violation, scalar,
    wire,
};
use crate::route::{Variables, decode_component};

/// Field numbers of `google.api.HttpBody`.
pub(super) const CONTENT_TYPE: u32 = 1;
pub(super) const DATA: u32 = 2;

/// One `google.api.http` binding of one method, compiled.
#[derive(Debug)]
pub struct Binding {
    pub(super) kind: BindingKind,
    pub(super) http_method: String,
    pub(super) template: Arc<str>,
    pub(super) success_status: u16,
    pub(super) input: MessageId,
    pub(super) output: MessageId,
    pub(super) variables: Box<[BoundVariable]>,
    pub(super) body: Body,
    pub(super) response_body: Option<Box<[FieldId]>>,
    pub(super) raw_request: bool,
    pub(super) raw_response: bool,
    pub(super) location: Box<[LocationPart]>,
    pub(super) etag: Option<FieldId>,
    pub(super) request_id: Option<FieldId>,
    pub(super) if_match: Option<FieldId>,
    pub(super) resume_position: Option<FieldId>,
    pub(super) response_position: Option<FieldId>,
    pub(super) update_mask: Option<FieldId>,
    /// Query parameters that are not the request's.
    pub(super) selectors: &'static [&'static str],
    pub(super) printed: Option<MessageId>,
    pub(super) ignore_unknown_fields: bool,
    pub(super) reading: scalar::Habits,
    pub(super) printing: print::Habits,
    pub(super) options: Arc<Options>,
    pub(super) types: Arc<Types>,
}

impl Binding {
    #[must_use]
    pub fn kind(&self) -> BindingKind {
        self.kind
    }

    /// `GET`, or `*` for each.
    #[must_use]
    pub fn http_method(&self) -> &str {
        &self.http_method
    }

    /// `/v1/accounts/{account_id}`: what logs and metrics may say of a path.
    #[must_use]
    pub fn template(&self) -> &Arc<str> {
        &self.template
    }

    /// The HTTP status of a success: 200, 201, 202 or 204.
    #[must_use]
    pub fn success_status(&self) -> u16 {
        self.success_status
    }

    /// Whether the body goes up as raw bytes, whatever its content type.
    #[must_use]
    pub fn request_is_http_body(&self) -> bool {
        self.raw_request
    }

    /// Whether the answer's bytes are the body: see [`Binding::http_body`].
    #[must_use]
    pub fn response_is_http_body(&self) -> bool {
        self.raw_response
    }

    /// Whether JSON messages go both ways at once: what a WebSocket can carry.
    #[must_use]
    pub fn is_dialogue(&self) -> bool {
        self.kind == BindingKind::Bidi && !self.raw_request && !self.raw_response
    }

    /// Whether streams have the form that grpc-gateway gives them.
    #[must_use]
    pub fn grpc_gateway(&self) -> bool {
        self.options.grpc_gateway
    }

    /// The size from which on an answer is worth compressing; 0: none is.
    #[must_use]
    pub fn compress_bytes_min(&self) -> usize {
        self.options.compress_bytes_min
    }

    /// How long a stream of events may be silent; `None`: for ever.
    #[must_use]
    pub fn sse_heartbeat(&self) -> Option<Duration> {
        let ms = self.options.sse_heartbeat_ms;
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// The types of the binding's descriptor set, for error details.
    #[must_use]
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// Appends the request message, unframed, to `out`. What `out` holds after an error is unspecified.
    ///
    /// # Errors
    /// Every violation that could be found, or the one thing that made the body unreadable.
    pub fn encode_request(&self, request: &RestRequest<'_>, out: &mut Vec<u8>) -> Result<(), RequestError> {
        match self.media(request.content_type) {
            Ok(media) => self.encode_body(media, request, out),
            // Nothing is of no type.
            Err(_) if request.body.is_empty() => self.encode_body(Media::Json, request, out),
            Err(error) => Err(error),
        }
    }

    /// As [`Binding::encode_request`], of a body that is read as what the caller says.
    ///
    /// # Errors
    /// As there.
    pub fn encode_body(
        &self,
        media: Media,
        request: &RestRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        if media == Media::Multipart {
            return self.encode_parts(request, out);
        }
        self.encode_as(media, request, &[], out)
    }

    pub(super) fn encode_as(
        &self,
        media: Media,
        request: &RestRequest<'_>,
        files: &[File],
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let mut binder = Binder::new(&self.types, self.input, self.reading, self.options.elements_max);
        binder.named = self.update_mask.map(|_| Vec::new());
        self.bind(request, &mut binder, out);
        self.bind_form(media, request, files, &mut binder, out)?;
        if matches!(self.body, Body::None) && !request.body.is_empty() {
            let description = "the method takes no body".to_owned();
            binder.violations.push(Violation { field: String::new(), description });
        }
        binder.assigned.append_to(&self.types, self.input, out);
        let json: Option<&[FieldId]> = match &self.body {
            Body::None => None,
            _ if request.body.is_empty() || media != Media::Json => None,
            Body::Whole => Some(&[]),
            Body::Field(path) => Some(path),
        };
        let wanted = self.update_mask.filter(|mask| binder.assigned.record([*mask].into_iter()).is_none());
        let mut mask = binder.named.take().unwrap_or_default();
        let violations = match json {
            Some(path) => self.encode_json(path, request.body, wanted.map(|_| &mut mask), binder, out)?,
            None => binder.violations,
        };
        if self.raw_request {
            self.put_http_body(request.content_type, request.body, out);
        }
        if let Some(place) = wanted {
            self.put_mask(place, &mask, out);
        }
        if violations.is_empty() { Ok(()) } else { Err(RequestError::Invalid { violations }) }
    }

    /// Whether `Idempotency-Key` fills a field.
    #[must_use]
    pub fn takes_request_id(&self) -> bool {
        self.request_id.is_some()
    }

    /// What path, headers and query say.
    fn bind(&self, request: &RestRequest<'_>, binder: &mut Binder<'_>, out: &mut Vec<u8>) {
        for (variable, value) in self.variables.iter().zip(&request.variables.0) {
            binder.give(&variable.path, &variable.name, value);
        }
        let mut header = |field: Option<FieldId>, value: Option<&str>| {
            if let (Some(field), Some(value)) = (field, value) {
                binder.give(&[field], &proto_name(&self.types, self.input, &[field]), value);
            }
        };
        header(self.request_id, request.idempotency_key);
        // `*` asks for any version: the same as asking for none, where the object must exist anyway.
        header(self.if_match, request.if_match.map(str::trim).filter(|tag| *tag != "*").map(unquote));
        header(self.resume_position, request.last_event_id);
        // A browser that reconnects asks for its first URL again, and the header says how far it has come since.
        binder.settled = self.resume_position.filter(|_| request.last_event_id.is_some());
        if let Some(query) = request.query {
            let closed = match &self.body {
                Body::Whole => Closed::Everything,
                Body::Field(path) if self.raw_request => Closed::Raw(path),
                Body::Field(_) | Body::None => Closed::Nothing,
            };
            let scope = Scope {
                giver: Giver::Query,
                base: &[],
                closed,
                selectors: self.selectors,
                ignored: &self.options.ignored_query,
                ignore_unknown: self.options.ignore_unknown_query,
            };
            binder.pairs(query, self.options.query_plus_is_space, &scope, out);
        }
    }

    /// What the client wants of the answer, by the query; `None`: everything. It is known before the call, which may change
    /// something.
    ///
    /// # Errors
    /// When a path names no field of the answer, or the answer is bytes, which have none.
    pub fn selection(&self, query: Option<&str>) -> Result<Option<Selection>, RequestError> {
        // Most queries are the request's alone; an escape may hide any letter.
        let Some(query) = query.filter(|query| query.contains("fields") || query.contains('%')) else {
            return Ok(None);
        };
        let mut found = None;
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| decode_component(text, self.options.query_plus_is_space);
            // What has a broken escape is refused with the rest of the query.
            let (Some(key), Some(value)) = (decode(key), decode(value)) else { continue };
            let Some(parameter) = self.selectors.iter().find(|parameter| **parameter == key) else {
                continue;
            };
            if self.options.ignored_query.iter().any(|ignored| *ignored == key) {
                continue;
            }
            if found.replace((parameter, value)).is_some() {
                let violation = Violation { field: key.into(), description: "must be given once".to_owned() };
                return Err(RequestError::Invalid { violations: vec![violation] });
            }
        }
        let Some((parameter, value)) = found else { return Ok(None) };
        let root = self.printed.filter(|_| !self.raw_response);
        Selection::compile(&self.types, root, parameter, &value)
    }

    /// Appends a JSON body that stands for the field at `path`, and notes in `mask` which fields it names.
    fn encode_json(
        &self,
        path: &[FieldId],
        body: &[u8],
        mask: Option<&mut Vec<String>>,
        binder: Binder<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Vec<Violation>, RequestError> {
        let Binder { assigned, violations, .. } = binder;
        let reader = Reader::new(body, self.options.elements_max)?;
        let mut encoder = Encoder::new(&self.types, self.reading, reader, &assigned, out);
        encoder.ignore_unknown = self.ignore_unknown_fields;
        encoder.violations = violations;
        encoder.mask = mask.as_ref().map(|_| Mask { base: path.len(), paths: Vec::new() });
        encoder.body(self.input, path)?;
        encoder.reader.finish()?;
        if let (Some(mask), Some(named)) = (mask, encoder.mask) {
            mask.extend(named.paths);
        }
        Ok(encoder.violations)
    }

    fn put_mask(&self, place: FieldId, paths: &[String], out: &mut Vec<u8>) {
        if paths.is_empty() {
            return;
        }
        wire::put_tag(out, self.types.message(self.input).field(place).number, wire::LEN);
        let start = wire::begin(out);
        for path in paths {
            wire::put_bytes(out, 1, path.as_bytes());
        }
        wire::end(out, start);
    }

    /// Appends raw bytes as the `HttpBody` that the body is.
    fn put_http_body(&self, content_type: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
        let path: &[FieldId] = match &self.body {
            Body::Field(path) => path,
            Body::Whole | Body::None => &[],
        };
        let mut starts = Vec::with_capacity(path.len());
        for depth in 1..=path.len() {
            if let Some(field) = field_at(&self.types, self.input, &path[..depth]) {
                wire::put_tag(out, field.number, wire::LEN);
                starts.push(wire::begin(out));
            }
        }
        if let Some(content_type) = content_type.filter(|content_type| !content_type.is_empty()) {
            wire::put_bytes(out, CONTENT_TYPE, content_type.as_bytes());
        }
        if !data.is_empty() {
            wire::put_bytes(out, DATA, data);
        }
        while let Some(start) = starts.pop() {
            wire::end(out, start);
        }
    }

    /// Appends a later message of a JSON stream: the first is [`Binding::encode_request`]'s, and has what path, query and
    /// headers say.
    ///
    /// # Errors
    /// As [`Binding::encode_request`].
    pub fn encode_next(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), RequestError> {
        let nothing = Variables::default();
        self.encode_body(Media::Json, &RestRequest { body, ..RestRequest::new(&nothing) }, out)
    }

    /// Appends a later message of an upload, bytes and nothing else: the first is [`Binding::encode_request`]'s.
    pub fn upload_next(&self, data: &[u8], out: &mut Vec<u8>) {
        self.put_http_body(None, data, out);
    }

    /// Appends a response message as JSON, `response_body` and print habits honoured.
    ///
    /// # Errors
    /// When the upstream's message is not one of its type, or cannot be JSON.
    pub fn decode_response(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), ResponseError> {
        self.decode_selected(message, None, out)
    }

    /// As [`Binding::decode_response`], of which only what [`Binding::selection`] says is printed.
    ///
    /// # Errors
    /// As [`Binding::decode_response`].
    pub fn decode_selected(
        &self,
        message: &[u8],
        selection: Option<&Selection>,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        let mut printer = Printer::new(&self.types, self.printing, out).selecting(selection);
        let Some((last, way)) = self.response_body.as_deref().and_then(<[FieldId]>::split_last) else {
            return printer.message(self.output, message);
        };
        let (at, bytes) = self.descend(way, message)?;
        printer.only(at, *last, bytes)
    }

    /// The message at a path of single messages in the response, empty where it is not there.
    fn descend<'m>(
        &self,
        path: &[FieldId],
        message: &'m [u8],
    ) -> Result<(MessageId, &'m [u8]), ResponseError> {
        let (mut at, mut bytes) = (self.output, message);
        for place in path {
            let field = self.types.message(at).field(*place);
            let Kind::Message(next) = field.kind else { return Err(ResponseError::Malformed) };
            bytes = wire::last_bytes(bytes, field.number)?.unwrap_or_default();
            at = next;
        }
        Ok((at, bytes))
    }

    /// The `HttpBody` of a response message, at `response_body` if the rule names one.
    ///
    /// # Errors
    /// When the message is not one of its type.
    pub fn http_body<'m>(&self, message: &'m [u8]) -> Result<HttpBody<'m>, ResponseError> {
        let (_, bytes) = self.descend(self.response_body.as_deref().unwrap_or_default(), message)?;
        let content_type = wire::last_bytes(bytes, CONTENT_TYPE)?.unwrap_or_default();
        Ok(HttpBody {
            content_type: std::str::from_utf8(content_type).map_err(|_| ResponseError::Malformed)?,
            data: wire::last_bytes(bytes, DATA)?.unwrap_or_default(),
        })
    }

    /// The Location header of a success, filled from the response message; none where a field of it is empty.
    #[must_use]
    pub fn location(&self, message: &[u8]) -> Option<String> {
        if self.location.is_empty() {
            return None;
        }
        let mut location = String::new();
        for part in &self.location {
            match part {
                LocationPart::Text(text) => location.push_str(text),
                LocationPart::Field(path) => {
                    let value = self.text(path, message).filter(|value| !value.is_empty())?;
                    location.extend(percent_encoding::utf8_percent_encode(&value, PATH_SEGMENT));
                }
            }
        }
        Some(location)
    }

    /// The ETag header of a success, quoted, from the response message's etag field; none where that is empty or holds what
    /// a header cannot.
    #[must_use]
    pub fn etag(&self, message: &[u8]) -> Option<String> {
        let value = self.text(&[self.etag?], message)?;
        let fits = |byte: u8| byte == 0x21 || (0x23..=0x7e).contains(&byte);
        (!value.is_empty() && value.bytes().all(fits)).then(|| format!("\"{value}\""))
    }

    /// The position behind a response message, from which its stream may be resumed; none where the message does not say, or
    /// where the text would not be one line.
    #[must_use]
    pub fn position(&self, message: &[u8]) -> Option<String> {
        let place = self.response_position?;
        let field = self.types.message(self.output).field(place);
        if field.presence && !wire::has(message, field.number) {
            return None;
        }
        let value = self.text(&[place], message)?;
        (!value.is_empty() && !value.contains(['\0', '\n', '\r'])).then_some(value)
    }

    /// A scalar of the response as text.
    fn text(&self, path: &[FieldId], message: &[u8]) -> Option<String> {
        let (last, way) = path.split_last()?;
        let (at, bytes) = self.descend(way, message).ok()?;
        let field = self.types.message(at).field(*last);
        if field.kind == Kind::String {
            let value = wire::last_bytes(bytes, field.number).ok()?.unwrap_or_default();
            return String::from_utf8(value.to_vec()).ok();
        }
        let mut json = Vec::new();
        Printer::new(&self.types, print::Habits::default(), &mut json).only(at, *last, bytes).ok()?;
        Some(String::from_utf8(json).ok()?.trim_matches('"').to_owned())
    }
}

/// What a path segment cannot hold as it is (RFC 3986, `pchar`).
const PATH_SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');

/// An entity tag without its quotes, weak or not: the field holds the bare tag.
fn unquote(tag: &str) -> &str {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag)
}
