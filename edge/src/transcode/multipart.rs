//! `multipart/form-data` (RFC 7578) taken apart while it arrives: the texts of a form and the bytes of its files. `multer` finds
//! boundaries and headers; here is said what a part is, and how much of everything there may be. However a body is cut into
//! pieces, the parts are the same. Pure: what arrives is pushed in, and what has come of it is asked for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{Stream as _, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use multer::Field;

use super::{RequestError, Violation};

/// More parts than this are no form that a person filled in: as many as a query may have parameters.
const PARTS_MAX: usize = 512;
/// A text in a form is a field's value; what is longer is a file.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The header of a part: a few lines with a name or two in them. What stands before the first part and behind the last, and is
/// passed over as RFC 2046 says, may be no longer.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The type of a file whose part names none. RFC 7578 section 4.4 calls a part without a type plain text, but a sender that knows
/// no type of a file is to say this, and to take bytes for text would be a guess.
const UNNAMED: &str = "application/octet-stream";
/// RFC 2046 section 5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;

/// A part that is a text: what a field of a form holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub name: String,
    pub value: String,
}

/// A part that is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub content_type: Option<String>,
    /// Empty while the file is on its way: its bytes follow it.
    pub data: Vec<u8>,
}

impl File {
    /// Its own content type, or that of bytes of which nothing is known.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or(UNNAMED)
    }
}

/// What has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text, whole.
    Text(Text),
    /// A file begins.
    File(File),
    /// Bytes of the file that began last.
    Data(Bytes),
}

/// See the module.
pub struct Multipart {
    form: multer::Multipart<'static>,
    /// Gone once there is nothing more to come.
    feed: Option<mpsc::Sender<Bytes>>,
    /// What has arrived and was not fed.
    waiting: Bytes,
    part: Option<Part>,
    parts: usize,
    /// How many bytes were fed since something was made of them that belongs to a part.
    outside: usize,
    /// What is told next.
    ready: VecDeque<Event>,
    /// Whether the whole body has arrived.
    ended: bool,
    /// Whether the last boundary has been seen.
    over: bool,
}

/// A part that is being read.
struct Part {
    field: Field<'static>,
    name: String,
    content: Content,
}

enum Content {
    Text(Vec<u8>),
    File,
    /// A file without a name, which is none at all unless bytes come: a form says so of a file that nobody chose.
    Nameless {
        content_type: Option<String>,
    },
}

impl Multipart {
    /// A body of this content type.
    ///
    /// # Errors
    /// When it names no boundary.
    pub fn new(content_type: &str) -> Result<Self, RequestError> {
        let boundary = multer::parse_boundary(content_type).unwrap_or_default();
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
            return Err(malformed(0, "the content type names no boundary of 1 to 70 characters"));
        }
        let (feed, fed) = mpsc::channel(1);
        Ok(Self {
            form: multer::Multipart::new(fed.map(Ok::<_, Infallible>), boundary),
            feed: Some(feed),
            waiting: Bytes::new(),
            part: None,
            parts: 0,
            outside: 0,
            ready: VecDeque::new(),
            ended: false,
            over: false,
        })
    }

    /// Takes the next piece of the body. What came before must have been read: [`Multipart::next_event`] had nothing more.
    pub fn push(&mut self, piece: Bytes) {
        self.waiting = piece;
    }

    /// Says that the whole body has been pushed.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// What has arrived next; `None` until more is pushed, and at the end.
    ///
    /// # Errors
    /// When the body is not in its form, ends too early or exceeds a bound.
    pub fn next_event(&mut self) -> Result<Option<Event>, RequestError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                self.outside += std::mem::take(&mut self.waiting).len();
                if self.outside > HEAD_BYTES_MAX {
                    return Err(self.malformed("data behind the last part"));
                }
                return Ok(None);
            }
            let moved = if self.part.is_some() { self.read_part()? } else { self.open_part()? };
            if !moved && !self.feed()? {
                return Ok(None);
            }
        }
    }

    /// Reads on in the open part. Returns whether that led anywhere.
    fn read_part(&mut self) -> Result<bool, RequestError> {
        let Some(part) = &mut self.part else { return Ok(false) };
        match Pin::new(&mut part.field).poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(false),
            Poll::Ready(Some(Ok(bytes))) => {
                let began = part.take(&bytes)?;
                let data = (!bytes.is_empty() && !part.is_text()).then_some(Event::Data(bytes));
                self.ready.extend(began.into_iter().chain(data));
                Ok(true)
            }
            Poll::Ready(Some(Err(error))) => Err(self.broken(&error)),
            Poll::Ready(None) => {
                self.outside = 0;
                let ended = self.part.take().map(Part::end).transpose()?.flatten();
                self.ready.extend(ended);
                Ok(true)
            }
        }
    }

    /// Goes on to the next part. Returns whether that led anywhere.
    fn open_part(&mut self) -> Result<bool, RequestError> {
        match self.form.poll_next_field(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(Some(field))) => {
                self.parts += 1;
                if self.parts > PARTS_MAX {
                    return Err(self.malformed("too many parts"));
                }
                let (part, began) = Part::begin(field).map_err(|problem| self.malformed(problem))?;
                self.part = Some(part);
                self.ready.extend(began);
                Ok(true)
            }
            Poll::Ready(Ok(None)) => {
                (self.over, self.outside) = (true, 0);
                Ok(true)
            }
            Poll::Ready(Err(error)) => {
                self.parts += 1;
                Err(self.broken(&error))
            }
        }
    }

    /// Feeds some of what waits, or its end. Returns whether there was something to feed.
    fn feed(&mut self) -> Result<bool, RequestError> {
        if self.waiting.is_empty() {
            // Without this end multer sees its own.
            let more = self.ended && self.feed.take().is_some();
            return if more || !self.ended { Ok(more) } else { Err(self.malformed("it ends too early")) };
        }
        let mut length = self.waiting.len();
        if self.part.is_none() {
            // multer gathers a header for as long as it does not end.
            length = length.min(HEAD_BYTES_MAX - self.outside);
            if length == 0 {
                return Err(self.malformed("its header is too large"));
            }
            self.outside += length;
        }
        let slice = self.waiting.split_to(length);
        // There is always room: whatever was fed is taken before there is need of more.
        let fed = self.feed.as_mut().is_some_and(|feed| feed.try_send(slice).is_ok());
        if fed { Ok(true) } else { Err(self.malformed("it cannot be read")) }
    }

    fn malformed(&self, reason: &'static str) -> RequestError {
        malformed(self.parts, reason)
    }

    fn broken(&self, error: &multer::Error) -> RequestError {
        use multer::Error::{IncompleteFieldData, IncompleteStream};
        let incomplete = matches!(error, IncompleteFieldData { .. } | IncompleteStream);
        if incomplete && self.feed.is_none() {
            return self.malformed("it ends too early");
        }
        let boundary = matches!(error, IncompleteStream);
        self.malformed(if boundary {
            "a boundary is not alone on its line"
        } else {
            "its header is malformed"
        })
    }
}

impl Part {
    /// A part, and what is to be told of it at once.
    fn begin(field: Field<'static>) -> Result<(Self, Option<Event>), &'static str> {
        let headers = field.headers();
        if headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
            > HEAD_BYTES_MAX
        {
            return Err("its header is too large");
        }
        let disposition = text(headers, &CONTENT_DISPOSITION)?.and_then(disposition);
        let Disposition { name, file_name } = disposition.ok_or("no Content-Disposition with its name")?;
        let content_type = text(headers, &CONTENT_TYPE)?.map(str::to_owned);
        // RFC 7578 section 4.7: no such header any more, and nothing that it could say of bytes over HTTP.
        let as_it_is = |encoding: &str| {
            ["binary", "8bit", "7bit"].iter().any(|plain| encoding.trim().eq_ignore_ascii_case(plain))
        };
        if !text(headers, &CONTENT_TRANSFER_ENCODING)?.is_none_or(as_it_is) {
            return Err("its transfer encoding is not supported");
        }
        let mut began = None;
        let content = match file_name {
            None if content_type.as_deref().is_none_or(is_plain_text) => Content::Text(Vec::new()),
            Some("") => Content::Nameless { content_type },
            None | Some(_) => {
                began = Some(Event::File(File { name: name.clone(), content_type, data: Vec::new() }));
                Content::File
            }
        };
        Ok((Self { field, name, content }, began))
    }

    const fn is_text(&self) -> bool {
        matches!(self.content, Content::Text(_))
    }

    /// Takes some of its bytes. Returns what is to be told before them.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Event>, RequestError> {
        match &mut self.content {
            Content::Text(text) if text.len() + bytes.len() > TEXT_BYTES_MAX => {
                Err(invalid(&self.name, "is longer than the text of a part may be"))
            }
            Content::Text(text) => {
                text.extend_from_slice(bytes);
                Ok(None)
            }
            Content::Nameless { content_type } if !bytes.is_empty() => {
                let (name, content_type) = (self.name.clone(), content_type.take());
                self.content = Content::File;
                Ok(Some(Event::File(File { name, content_type, data: Vec::new() })))
            }
            Content::File | Content::Nameless { .. } => Ok(None),
        }
    }

    /// What is told at its end.
    fn end(self) -> Result<Option<Event>, RequestError> {
        let Content::Text(text) = self.content else { return Ok(None) };
        match String::from_utf8(text) {
            Ok(value) => Ok(Some(Event::Text(Text { name: self.name, value }))),
            Err(_) => Err(invalid(&self.name, "must be UTF-8")),
        }
    }
}

/// Takes a whole body apart.
pub(super) fn whole(content_type: &str, body: &[u8]) -> Result<(Vec<Text>, Vec<File>), RequestError> {
    let mut multipart = Multipart::new(content_type)?;
    multipart.push(Bytes::copy_from_slice(body));
    multipart.finish();
    let (mut texts, mut files) = (Vec::new(), Vec::<File>::new());
    while let Some(event) = multipart.next_event()? {
        match event {
            Event::Text(text) => texts.push(text),
            Event::File(file) => files.push(file),
            Event::Data(bytes) => {
                if let Some(file) = files.last_mut() {
                    file.data.extend_from_slice(&bytes);
                }
            }
        }
    }
    Ok((texts, files))
}

const CONTENT_TRANSFER_ENCODING: http::HeaderName =
    http::HeaderName::from_static("content-transfer-encoding");

/// What a part's Content-Disposition says.
#[derive(Debug, PartialEq, Eq)]
struct Disposition<'h> {
    name: String,
    /// That of a text is none.
    file_name: Option<&'h str>,
}

/// Reads a Content-Disposition; `None` unless it is a form's, with one name. Names come as browsers write them: UTF-8 in quotes,
/// of which a backslash escapes none but the quote.
fn disposition(value: &str) -> Option<Disposition<'_>> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut file_name) = (None, None);
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = parameter(after.trim_start())?;
        let key = key.trim();
        if key.eq_ignore_ascii_case("name") {
            if name.replace(value).is_some() {
                return None;
            }
        } else if key.eq_ignore_ascii_case("filename") || key.eq_ignore_ascii_case("filename*") {
            file_name = file_name.filter(|known: &&str| !known.is_empty()).or(Some(value));
        }
        rest = match after.trim_start() {
            "" => "",
            after => after.strip_prefix(';')?,
        };
    }
    let name = name.filter(|name| !name.is_empty())?.replace("\\\"", "\"");
    Some(Disposition { name, file_name })
}

/// The value at the front, and what follows it.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ';' || c.is_ascii_whitespace()).unwrap_or(text.len());
        return Some(text.split_at(end));
    };
    let mut quotes = quoted.match_indices('"').map(|(at, _)| at);
    let end = quotes.find(|at| !quoted[..*at].ends_with('\\'))?;
    Some((&quoted[..end], &quoted[end + 1..]))
}

/// Whether a content type is that of a text, in the one charset that texts are read in.
fn is_plain_text(content_type: &str) -> bool {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let charset = parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let known = |charset: &str| ["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    essence.trim().eq_ignore_ascii_case("text/plain") && charset.is_none_or(known)
}

fn text<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Result<Option<&'h str>, &'static str> {
    let value = headers.get(name).map(|value| std::str::from_utf8(value.as_bytes()));
    value.transpose().map_err(|_| "its header is not UTF-8")
}

fn malformed(part: usize, reason: &'static str) -> RequestError {
    RequestError::MalformedMultipart { part, reason }
}

fn invalid(name: &str, description: &str) -> RequestError {
    let violation = Violation { field: name.to_owned(), description: description.to_owned() };
    RequestError::Invalid { violations: vec![violation] }
}

#[cfg(test)]
mod tests;
