//! The body of a request as a stream of messages, in frames: each JSON value one, each piece of raw bytes one, a form one. The
//! body may come in an envelope of parts; then its file is the body, and the first message has the texts that came before it.
//! Nothing is read before everything that came of the last piece has been taken.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use pingora::protocols::http::ServerSession as Session;
use tokio::time::{Sleep, sleep_until};

use super::Target;
use super::body::{Body, too_large};
use crate::error::Error;
use crate::request::{Call, Ended};
use crate::room::Held;
use crate::transcode::{
    Event, File, Media, Multipart, RequestError, RestRequest, Splitter, Text, Violation, frame,
};

/// What one message of raw bytes carries. Large enough that frames cost nothing, small enough that many uploads fit into memory.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Messages that have arrived together are sent together, up to this many bytes.
const GATHER_BYTES: usize = 16 * 1024;

/// See the module.
pub(super) struct Messages<'a> {
    target: &'a Target<'a>,
    held: &'a Held,
    /// How much of the content has found room: a window to begin with, then whatever is gathered.
    roomy: usize,
    body: Body,
    /// Ends the wait for a client that is too slow.
    late: Option<Pin<Box<Sleep>>>,
    /// Whether the body has been read to its end.
    ended: bool,
    envelope: Option<Envelope>,
    content: Content,
    count: u64,
    message_bytes_max: usize,
}

/// What there is of the content.
enum Content {
    /// One JSON value a message.
    Json(Splitter),
    /// Raw bytes, each piece a message.
    Raw(Bytes),
    /// A form, which is one message.
    Form(BytesMut),
}

/// The parts that the content comes in.
struct Envelope {
    parts: Multipart,
    /// The texts so far.
    texts: Vec<Text>,
    texts_bytes: usize,
    /// The file that the content is, once it has begun.
    file: Option<File>,
}

/// Frames that belong together.
#[derive(Default)]
pub(super) struct Frames {
    pub bytes: Bytes,
    /// Whether no others follow.
    pub last: bool,
}

impl<'a> Messages<'a> {
    /// Begins to read a body.
    pub(super) async fn begin(
        session: &mut Session,
        call: &'a Call,
        target: &'a Target<'a>,
    ) -> Result<Self, Ended> {
        let limits = &call.snapshot.limits;
        let raw = target.binding.request_is_http_body();
        // A stream of messages may be as long as it lives; only each of them has a bound.
        let bytes_max = if raw { limits.upload_bytes_max } else { u64::MAX };
        let empty = session.is_body_empty();
        let content_type = session.req_header().headers.get(CONTENT_TYPE).map(|value| value.to_str());
        let content_type = content_type.transpose();
        let content_type = content_type.map_err(|_| Error::InvalidHeader { header: "content-type" })?;
        let media = match target.binding.media(content_type) {
            // Nothing is of no type.
            Err(_) if empty => Media::Json,
            media => media.map_err(Error::from)?,
        };
        let (mut envelope, mut content) = (None, Content::Json(Splitter::new(limits.message_bytes_max)));
        match media {
            Media::Json => {}
            Media::Raw => content = Content::Raw(Bytes::new()),
            Media::Form => content = Content::Form(BytesMut::new()),
            Media::Multipart => {
                let parts = Multipart::new(content_type.unwrap_or_default()).map_err(Error::from)?;
                envelope = Some(Envelope { parts, texts: Vec::new(), texts_bytes: 0, file: None });
                if raw {
                    content = Content::Raw(Bytes::new());
                }
            }
        }
        let roomy = usize::try_from(limits.http2.stream_window_bytes).unwrap_or(usize::MAX);
        call.held.take(roomy)?;
        let body = Body::begin(session, bytes_max).await?;
        // A stream of values may be a dialogue, in which a client is silent for as long as it has nothing to say.
        let body = if raw { body.paced(limits) } else { body };
        let message_bytes_max = limits.message_bytes_max;
        let held = &call.held;
        Ok(Self {
            target,
            held,
            roomy,
            body,
            late: None,
            ended: false,
            envelope,
            content,
            count: 0,
            message_bytes_max,
        })
    }

    /// The next frames, none if a piece of the body was read that is part of a message.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<Result<Frames, Ended>> {
        let mut frames = Vec::new();
        while frames.len() < GATHER_BYTES && self.append_frame(session, &mut frames)? {}
        if !frames.is_empty() {
            return Poll::Ready(Ok(Frames { bytes: frames.into(), last: false }));
        }
        if self.ended {
            self.append_last_frame(session, &mut frames)?;
            return Poll::Ready(Ok(Frames { bytes: frames.into(), last: true }));
        }
        let Poll::Ready(piece) = self.body.poll_piece(cx, session) else { return self.poll_late(cx) };
        match piece? {
            Some(piece) => self.push(piece)?,
            None => {
                self.ended = true;
                if let Some(envelope) = &mut self.envelope {
                    envelope.parts.finish();
                }
            }
        }
        Poll::Ready(Ok(Frames::default()))
    }

    /// Pending until the client has been too slow.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frames, Ended>> {
        let Some(due) = self.body.due() else { return Poll::Pending };
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if late.deadline() != due {
            late.as_mut().reset(due);
        }
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Err(Error::BodyTooSlow.into()))
    }

    fn push(&mut self, piece: Bytes) -> Result<(), Error> {
        match &mut self.envelope {
            Some(envelope) => envelope.parts.push(piece),
            None => self.gather(piece)?,
        }
        Ok(())
    }

    /// Adds to the content, if there is room for what has gathered of it.
    fn gather(&mut self, piece: Bytes) -> Result<(), Error> {
        self.content.push(piece, self.message_bytes_max)?;
        let more = self.content.len().saturating_sub(self.roomy);
        self.held.take(more)?;
        self.roomy += more;
        Ok(())
    }

    /// Appends the next message that has arrived whole. Returns whether there was one.
    fn append_frame(&mut self, session: &Session, out: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            match &mut self.content {
                Content::Json(splitter) => {
                    if let Some(part) = splitter.next_part()? {
                        self.append_json(session, part.offset, &part.json, out)?;
                        return Ok(true);
                    }
                }
                Content::Raw(rest) if !rest.is_empty() => {
                    let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
                    self.append_raw(session, &piece, out)?;
                    return Ok(true);
                }
                Content::Raw(_) | Content::Form(_) => {}
            }
            if !self.unwrap_next()? {
                return Ok(false);
            }
        }
    }

    /// Takes out of the envelope what has arrived next. Returns whether there was something.
    fn unwrap_next(&mut self) -> Result<bool, Error> {
        let Some(envelope) = &mut self.envelope else { return Ok(false) };
        let Some(event) = envelope.parts.next_event()? else { return Ok(false) };
        match event {
            Event::Text(text) => envelope.add_text(text, self.message_bytes_max)?,
            Event::File(_) if envelope.file.is_some() => {
                return Err(self.target.binding.file_repeated().into());
            }
            Event::File(file) => {
                if !self.target.binding.takes_file(file.content_type.as_deref()) {
                    return Err(Error::UnsupportedMediaType);
                }
                envelope.file = Some(file);
            }
            Event::Data(bytes) => self.gather(bytes)?,
        }
        Ok(true)
    }

    /// Appends what only the end of the body tells to be a message. A body without any is an empty stream, unless path, query,
    /// headers or texts say something: then it is that one message.
    fn append_last_frame(&mut self, session: &Session, out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.content {
            Content::Json(splitter) => {
                if let Some(part) = splitter.finish()? {
                    return self.append_json(session, part.offset, &part.json, out);
                }
                if self.count == 0 {
                    self.append_json(session, 0, &[], out)?;
                    clear_if_empty(out);
                }
            }
            Content::Form(form) => {
                let form = std::mem::take(form);
                self.append(session, 0, Media::Form, &form, out)?;
                clear_if_empty(out);
            }
            Content::Raw(_) if self.count == 0 => {
                if self.envelope.as_ref().is_some_and(|envelope| envelope.file.is_none()) {
                    return Err(self.target.binding.file_missing().into());
                }
                self.append_raw(session, &[], out)?;
            }
            Content::Raw(_) => {}
        }
        Ok(())
    }

    fn append_json(
        &mut self,
        session: &Session,
        offset: usize,
        json: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = out.len();
        self.append(session, offset, Media::Json, json, out)?;
        if out.len() - start - frame::PREFIX_BYTES > self.message_bytes_max {
            return Err(Error::BodyTooLarge { bytes_max: self.message_bytes_max });
        }
        Ok(())
    }

    fn append_raw(&mut self, session: &Session, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve(piece.len() + 128);
        self.append(session, 0, Media::Raw, piece, out)
    }

    /// Appends a message: the first has all that the request says beside its content.
    fn append(
        &mut self,
        session: &Session,
        offset: usize,
        media: Media,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (binding, index) = (self.target.binding, self.count);
        let place = |error: RequestError| {
            if media == Media::Json { error.in_stream(index, offset) } else { error }
        };
        let start = frame::begin(out);
        if index == 0 {
            let envelope = self.envelope.as_ref();
            self.target.with_request(session, content, |request| {
                let mut request = *request;
                if let Some(envelope) = envelope {
                    request = envelope.beside(request);
                }
                binding.encode_body(media, &request, out).map_err(place)
            })?;
        } else if media == Media::Raw {
            binding.upload_next(content, out);
        } else {
            binding.encode_next(content, out).map_err(place)?;
        }
        frame::end(out, start);
        self.count += 1;
        Ok(())
    }
}

impl Content {
    /// How much of it waits to be taken out.
    fn len(&self) -> usize {
        match self {
            Self::Json(splitter) => splitter.waiting(),
            Self::Raw(rest) => rest.len(),
            Self::Form(form) => form.len(),
        }
    }

    /// Takes what came next. All that came before has been taken out.
    fn push(&mut self, piece: Bytes, message_bytes_max: usize) -> Result<(), Error> {
        match self {
            Self::Json(splitter) => splitter.push(piece),
            Self::Raw(rest) => *rest = piece,
            Self::Form(form) if form.len() + piece.len() > message_bytes_max => {
                return Err(too_large(message_bytes_max as u64));
            }
            Self::Form(form) => form.extend_from_slice(&piece),
        }
        Ok(())
    }
}

impl Envelope {
    /// Keeps a text for the first message, which has gone once the file has begun to arrive.
    fn add_text(&mut self, text: Text, bytes_max: usize) -> Result<(), Error> {
        if self.file.is_some() {
            let description = "stands behind the file: texts come first".to_owned();
            let violations = vec![Violation { field: text.name, description }];
            return Err(RequestError::Invalid { violations }.into());
        }
        self.texts_bytes += text.name.len() + text.value.len();
        if self.texts_bytes > bytes_max {
            return Err(too_large(bytes_max as u64));
        }
        self.texts.push(text);
        Ok(())
    }

    /// A request with what the envelope says of its content.
    fn beside<'r>(&'r self, request: RestRequest<'r>) -> RestRequest<'r> {
        let content_type = self.file.as_ref().map(File::content_type);
        RestRequest { content_type, texts: &self.texts, ..request }
    }
}

/// Takes back the frame of a message without fields.
fn clear_if_empty(out: &mut Vec<u8>) {
    if out.len() == frame::PREFIX_BYTES {
        out.clear();
    }
}
