//! Forms in the place of a JSON body: what a body is by its content type, the names of a form relative to the body field as JSON
//! keys would be, and files where the message has bytes.

use super::assigned::{Giver, append_nested};
use super::bind::{Binder, Closed, Scope, Target, field_at, proto_name, resolve};
use super::binding::{Binding, CONTENT_TYPE, DATA};
use super::compile::{Body, HTTP_BODY};
use super::multipart::{self, File};
use super::scalar::Expected;
use super::types::{FieldId, Form, Kind, MessageId, Shape};
use super::{BindingKind, RequestError, RestRequest, Violation, wire};

/// How the bytes of a body are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// They are an `HttpBody`'s, whatever they are.
    Raw,
    Json,
    /// `application/x-www-form-urlencoded`: one message.
    Form,
    /// `multipart/form-data`: an envelope around any of the others.
    Multipart,
}

/// The names that JSON lines go by; none is registered.
const JSON_LINES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// What clients call a file whose type they do not know.
const UNKNOWN: [&str; 2] = ["application/octet-stream", "text/plain"];

impl Binding {
    /// How a body of this content type is read. None at all is what the method takes.
    ///
    /// # Errors
    /// When the method takes no body of this type.
    pub fn media(&self, content_type: Option<&str>) -> Result<Media, RequestError> {
        let is = |media: &&str| essence(content_type).eq_ignore_ascii_case(media);
        let takes_form = !self.raw_request && self.form_base().is_some();
        let takes_parts =
            takes_form || !matches!(self.body, Body::None) && (self.raw_request || self.streams());
        match () {
            () if takes_parts && is(&"multipart/form-data") => Ok(Media::Multipart),
            () if self.raw_request => Ok(Media::Raw),
            () if takes_form && is(&"application/x-www-form-urlencoded") => Ok(Media::Form),
            () if content_type.is_none() || is(&"application/json") => Ok(Media::Json),
            () if self.streams() && JSON_LINES.iter().any(is) => Ok(Media::Json),
            () => Err(RequestError::UnsupportedMediaType),
        }
    }

    /// Whether a file of this content type may hold the values of a stream.
    #[must_use]
    pub fn takes_file(&self, content_type: Option<&str>) -> bool {
        let is = |media: &&str| essence(content_type).eq_ignore_ascii_case(media);
        matches!(self.media(content_type), Ok(Media::Raw | Media::Json)) || UNKNOWN.iter().any(is)
    }

    /// What a request lacks whose parts have no file.
    #[must_use]
    pub fn file_missing(&self) -> RequestError {
        self.file_violation("needs a file part")
    }

    /// What is wrong with a request whose parts have another file.
    #[must_use]
    pub fn file_repeated(&self) -> RequestError {
        self.file_violation("takes one file part")
    }

    fn file_violation(&self, description: &str) -> RequestError {
        let field = match &self.body {
            Body::Field(path) => proto_name(&self.types, self.input, path),
            Body::Whole | Body::None => String::new(),
        };
        RequestError::Invalid { violations: vec![Violation { field, description: description.to_owned() }] }
    }

    fn streams(&self) -> bool {
        matches!(self.kind, BindingKind::ClientStream | BindingKind::HttpBodyUpload | BindingKind::Bidi)
    }

    /// The message that a form's names begin at, and the way to it.
    fn form_base(&self) -> Option<(MessageId, &[FieldId])> {
        let (id, path): (_, &[FieldId]) = match &self.body {
            Body::None => return None,
            Body::Whole => (self.input, &[]),
            Body::Field(path) => {
                let field = field_at(&self.types, self.input, path)?;
                (field.kind.message().filter(|_| field.shape == Shape::Singular)?, path)
            }
        };
        (self.types.message(id).form == Form::Object).then_some((id, path))
    }

    /// Appends the message of a request whose whole body is an envelope of parts.
    pub(super) fn encode_parts(
        &self,
        request: &RestRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let content_type = request.content_type.unwrap_or_default();
        let (texts, files) = multipart::whole(content_type, request.body)?;
        if !self.raw_request {
            let request = RestRequest { texts: &texts, body: &[], ..*request };
            return self.encode_as(Media::Form, &request, &files, out);
        }
        let [file] = &files[..] else {
            return Err(if files.is_empty() { self.file_missing() } else { self.file_repeated() });
        };
        let content_type = Some(file.content_type());
        let request = RestRequest { texts: &texts, body: &file.data, content_type, ..*request };
        self.encode_as(Media::Raw, &request, &[], out)
    }

    /// Binds a form: pairs that are escaped as a query's are, texts and files.
    pub(super) fn bind_form(
        &self,
        media: Media,
        request: &RestRequest<'_>,
        files: &[File],
        binder: &mut Binder<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        // Beside raw bytes texts stand where the query's parameters do, for the bytes are all that the body is.
        let (base, closed): (&[FieldId], _) = match (&self.body, self.form_base()) {
            (Body::Field(path), _) if self.raw_request => (&[], Closed::Raw(path)),
            (_, Some((_, path))) if !self.raw_request => (path, Closed::Nothing),
            _ => (&[], Closed::Everything),
        };
        let scope = Scope {
            giver: Giver::Form,
            base,
            closed,
            selectors: &[],
            ignored: &self.options.ignored_query,
            ignore_unknown: self.options.ignore_unknown_query || self.ignore_unknown_fields,
        };
        for text in request.texts {
            binder.text(&text.name, &text.value, &scope, out);
        }
        if media == Media::Form {
            let text = std::str::from_utf8(request.body)
                .map_err(|error| RequestError::MalformedForm { offset: error.valid_up_to() })?;
            binder.pairs(text, true, &scope, out);
        }
        for file in files {
            self.bind_file(file, base, &scope, binder, out);
        }
        Ok(())
    }

    fn bind_file(
        &self,
        file: &File,
        base: &[FieldId],
        scope: &Scope<'_>,
        binder: &mut Binder<'_>,
        out: &mut Vec<u8>,
    ) {
        let Some(target) = resolve(&self.types, self.input, base, &file.name) else {
            return binder.unknown(&file.name, scope);
        };
        binder.note(&target, scope);
        if let Err(description) = self.try_bind_file(file, &target, binder, out) {
            let field = proto_name(&self.types, self.input, &target.path);
            binder.violations.push(Violation { field, description: description.to_owned() });
        }
    }

    fn try_bind_file(
        &self,
        file: &File,
        target: &Target<'_>,
        binder: &mut Binder<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Expected> {
        let field = field_at(&self.types, self.input, &target.path).ok_or("is not a field")?;
        let record = |number: u32, bytes: &[u8]| {
            let mut record = Vec::with_capacity(bytes.len() + 16);
            wire::put_bytes(&mut record, number, bytes);
            record
        };
        let content_type = file.content_type().as_bytes();
        let http_body =
            field.kind.message().map(|id| self.types.message(id)).filter(|id| id.name == HTTP_BODY);
        match (field.shape, field.kind, http_body) {
            (Shape::Singular, Kind::Bytes, _) => {
                let written = field.presence || !file.data.is_empty();
                binder.put(&target.path, &record(field.number, &file.data), Giver::Form, written)
            }
            (Shape::Singular, _, Some(plan)) => {
                for (number, bytes) in [(CONTENT_TYPE, content_type), (DATA, &file.data[..])] {
                    let place = plan.fields.iter().zip(0..).find(|(field, _)| field.number == number);
                    let (_, place) = place.ok_or("is not a field")?;
                    let path = [&target.path[..], &[place]].concat();
                    binder.put(&path, &record(number, bytes), Giver::Form, !bytes.is_empty())?;
                }
                Ok(())
            }
            (Shape::Repeated { .. }, Kind::Bytes, _) => {
                let record = record(field.number, &file.data);
                append_nested(&self.types, self.input, &target.path, &record, out);
                Ok(())
            }
            (Shape::Repeated { .. }, _, Some(_)) => {
                let inside = [record(CONTENT_TYPE, content_type), record(DATA, &file.data)].concat();
                let record = record(field.number, &inside);
                append_nested(&self.types, self.input, &target.path, &record, out);
                Ok(())
            }
            (Shape::Singular | Shape::Repeated { .. } | Shape::Map, _, _) => Err("takes no file"),
        }
    }
}

/// A content type without its parameters.
fn essence(content_type: Option<&str>) -> &str {
    content_type.and_then(|content_type| content_type.split(';').next()).unwrap_or_default().trim()
}
