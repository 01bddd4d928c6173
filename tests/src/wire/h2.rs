//! HTTP/2 frame by frame (RFC 9113), with header blocks of literals only (RFC 7541 section 6.2.2): everything is what the test
//! wrote, and nothing is put right on the way.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{PATIENCE, Wire};
use crate::World;

/// Kinds of frames (RFC 9113 section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 section 7).
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What goes into one write: many frames, so that they arrive together.
const PIECE_BYTES: usize = 64 * 1024;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A whole header block.
    #[must_use]
    pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        let mut block = Vec::new();
        for (name, value) in fields {
            literal(&mut block, name.as_bytes(), value.as_bytes());
        }
        Self::new(HEADERS, flags | END_HEADERS, stream, block)
    }

    /// A request that ends with its header.
    #[must_use]
    pub fn get(stream: u32, path: &str) -> Self {
        Self::headers(stream, END_STREAM, &get(path))
    }

    /// Resets a stream.
    #[must_use]
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// Opens a window.
    #[must_use]
    pub fn window(stream: u32, bytes: u32) -> Self {
        Self::new(WINDOW_UPDATE, 0, stream, bytes.to_be_bytes())
    }

    /// A stream that names its parent.
    #[must_use]
    pub fn priority(stream: u32, parent: u32) -> Self {
        Self::new(PRIORITY, 0, stream, [&parent.to_be_bytes()[..], &[16]].concat())
    }

    /// One setting.
    #[must_use]
    pub fn setting(id: u16, value: u32) -> Self {
        Self::new(SETTINGS, 0, 0, [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
    }

    /// The frame on the wire.
    pub fn write(&self, to: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        to.extend_from_slice(&length[1..]);
        to.extend_from_slice(&[self.kind, self.flags]);
        to.extend_from_slice(&self.stream.to_be_bytes());
        to.extend_from_slice(&self.payload);
    }

    /// The error code that a reset or the end of a connection carries.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        let from = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(from..from + 4)?.try_into().ok()?))
    }
}

/// The four pseudo headers of a GET.
#[must_use]
pub fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}

/// A literal field without indexing and without Huffman coding.
pub fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        integer(block, text.len());
        block.extend_from_slice(text);
    }
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// A connection that has sent its preface and its settings.
pub struct Connection {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
    received: Vec<u8>,
}

/// How a connection came to rest.
#[derive(Debug, Default)]
pub struct Ending {
    /// The code of the GOAWAY that ended it.
    pub goaway: Option<u32>,
    /// Whether the edge closed it.
    pub closed: bool,
    /// The frames that came besides, DATA without its bytes.
    pub frames: Vec<Frame>,
    /// How many frames were sent.
    pub sent: usize,
}

impl Ending {
    /// Whether the edge has ended the connection by itself.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.goaway.is_some() || self.closed
    }

    /// The code that reset a stream.
    #[must_use]
    pub fn reset(&self, stream: u32) -> Option<u32> {
        self.frames.iter().find(|frame| frame.kind == RST_STREAM && frame.stream == stream)?.code()
    }

    /// The body that came on a stream.
    #[must_use]
    pub fn body(&self, stream: u32) -> String {
        let data = self.frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
        String::from_utf8_lossy(&data.flat_map(|frame| frame.payload.clone()).collect::<Vec<_>>())
            .into_owned()
    }

    /// The status of a stream: 200 by its one-byte field, that of an error by its JSON.
    #[must_use]
    pub fn status(&self, stream: u32) -> Option<u16> {
        let answered = |frame: &&Frame| frame.kind == HEADERS && frame.stream == stream;
        let first = *self.frames.iter().find(answered)?.payload.first()?;
        // RFC 7541 appendix A.
        let known = [(0x88, 200), (0x89, 204), (0x8b, 304)];
        if let Some((_, status)) = known.iter().find(|(index, _)| *index == first) {
            return Some(*status);
        }
        let body: serde_json::Value = serde_json::from_str(&self.body(stream)).unwrap_or_default();
        let code = body["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        // A success other than 200 has no error to read it from.
        Some(code.unwrap_or(if first == 0x8c { 400 } else { 201 }))
    }
}

impl Connection {
    /// Connects with empty settings.
    pub async fn open(world: &World) -> Self {
        Self::open_with(world, &[Frame::new(SETTINGS, 0, 0, [])]).await
    }

    /// Connects with these frames behind the preface.
    pub async fn open_with(world: &World, first: &[Frame]) -> Self {
        let (read, write) = tokio::io::split(Wire::connect(world, "h2").await.into_stream());
        let mut connection = Self { read, write, received: Vec::new() };
        let mut bytes = PREFACE.to_vec();
        first.iter().for_each(|frame| frame.write(&mut bytes));
        connection.write.write_all(&bytes).await.unwrap();
        connection.write.flush().await.unwrap();
        connection
    }

    /// Sends frames in one write; `false` when the edge takes no more.
    pub async fn send(&mut self, frames: &[Frame]) -> bool {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        self.write.write_all(&bytes).await.is_ok() && self.write.flush().await.is_ok()
    }

    /// The next frame; `None` when the connection is over or silent for `patience`, with `true` when it is over.
    pub async fn next(&mut self, patience: Duration) -> Result<Frame, bool> {
        next(&mut self.read, &mut self.received, patience).await
    }

    /// Reads until every one of `streams` has ended, or the connection has.
    pub async fn answers(&mut self, streams: &[u32]) -> Ending {
        let mut ending = Ending::default();
        let mut open: Vec<u32> = streams.to_vec();
        while !open.is_empty() {
            match self.next(PATIENCE).await {
                Ok(frame) => {
                    let ends = frame.kind == RST_STREAM
                        || (matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0);
                    if ends {
                        open.retain(|stream| *stream != frame.stream);
                    }
                    let last = frame.kind == GOAWAY;
                    ending.goaway = ending.goaway.or(frame.code().filter(|_| last));
                    ending.frames.push(frame);
                    if last && ending.goaway != Some(0) {
                        break;
                    }
                }
                Err(closed) => {
                    ending.closed = closed;
                    break;
                }
            }
        }
        ending
    }

    /// Sends what `frames` makes of each number, as fast as it is taken, until the edge ends the connection or `count` is sent;
    /// then waits for its last word at most `patience`.
    pub async fn flood(
        mut self,
        count: u32,
        patience: Duration,
        frames: impl Fn(u32) -> Vec<Frame>,
    ) -> Ending {
        let (mut read, mut received) = (self.read, self.received);
        let sent = AtomicUsize::new(0);
        let writing = async {
            let mut bytes = Vec::new();
            for number in 0..count {
                for frame in frames(number) {
                    frame.write(&mut bytes);
                    sent.fetch_add(1, Relaxed);
                }
                if bytes.len() >= PIECE_BYTES {
                    if self.write.write_all(&bytes).await.is_err() {
                        return;
                    }
                    bytes.clear();
                }
            }
            let _ = self.write.write_all(&bytes).await;
            let _ = self.write.flush().await;
        };
        let reading = async {
            let mut ending = Ending::default();
            loop {
                match next(&mut read, &mut received, patience).await {
                    Ok(frame) if frame.kind == GOAWAY && frame.code() != Some(0) => {
                        ending.goaway = frame.code();
                        return ending;
                    }
                    // What an endless stream says is not kept.
                    Ok(frame) if frame.kind == DATA => {
                        ending.frames.push(Frame { payload: Vec::new(), ..frame });
                    }
                    Ok(frame) => ending.frames.push(frame),
                    Err(closed) => {
                        ending.closed = closed;
                        return ending;
                    }
                }
            }
        };
        let (reading, writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
        let ending = match futures::future::select(reading, writing).await {
            futures::future::Either::Left((ending, _)) => ending,
            futures::future::Either::Right(((), reading)) => reading.await,
        };
        Ending { sent: sent.load(Relaxed), ..ending }
    }
}

async fn next(
    read: &mut ReadHalf<TlsStream<TcpStream>>,
    received: &mut Vec<u8>,
    patience: Duration,
) -> Result<Frame, bool> {
    loop {
        if let Some((head, rest)) = received.split_at_checked(9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if let Some(payload) = rest.get(..length) {
                let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
                let frame = Frame::new(head[3], head[4], stream, payload);
                received.drain(..9 + length);
                return Ok(frame);
            }
        }
        let mut buffer = vec![0; 16 * 1024];
        match timeout(patience, read.read(&mut buffer)).await {
            Err(_) => return Err(false),
            Ok(Ok(0) | Err(_)) => return Err(true),
            Ok(Ok(count)) => received.extend_from_slice(&buffer[..count]),
        }
    }
}
