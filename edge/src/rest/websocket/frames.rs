//! Frames in, events out, and back. Pure: the bytes come from and go to memory, and whoever owns the socket moves them there and
//! away. The protocol itself (masks, fragments, control frames, the closing handshake) is tungstenite's.
//!
//! What waits here is bounded: one message that arrives in parts, what the owner sends, and of the answers to pings a few; of the
//! pings beyond those only the last is answered, as RFC 6455 section 5.5.3 allows. A flood of pings costs its sender more.

use std::io::{self, Read, Write};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// What is read ahead of a frame whose length is not known. Messages grow the buffer to their size.
const READ_BYTES: usize = 8 * 1024;
/// Answers to pings wait while more than this waits to be written.
const CONTROL_BYTES_MAX: usize = 4 * 1024;
/// Room for the one control frame that waits: 125 bytes and its header.
const WAITING_BYTES_MAX: usize = 127;

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A whole message; empty for the end of the request.
    Text(Bytes),
    /// A ping, which is being answered, or a pong.
    Control,
    /// It says goodbye, or answers to ours. Ours is being sent, if it was not before.
    Close,
}

/// Why nothing more can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Binary,
    TooLarge,
    NotText,
    Protocol(String),
}

/// See the module.
pub(super) struct Frames {
    context: WebSocketContext,
    memory: Memory,
    /// How many of the bytes that wait end with the last text.
    text_bytes: usize,
    broken: bool,
}

/// What stands where tungstenite expects a socket.
struct Memory {
    received: Bytes,
    outgoing: BytesMut,
    /// Whether control frames go out however much waits.
    open: bool,
}

impl Frames {
    /// Both a frame and a message of several may have `message_bytes_max` bytes.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WAITING_BYTES_MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let memory = Memory { received: Bytes::new(), outgoing: BytesMut::new(), open: false };
        Self {
            context: WebSocketContext::new(Role::Server, Some(config)),
            memory,
            text_bytes: 0,
            broken: false,
        }
    }

    /// Takes what has been read, once [`Frames::next`] has nothing more to say of what came before.
    pub(super) fn receive(&mut self, piece: Bytes) {
        if !self.broken {
            self.memory.received = piece;
        }
    }

    /// What the client said next, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Broken> {
        if self.broken {
            return Ok(None);
        }
        let broken = match self.context.read(&mut self.memory) {
            Ok(Message::Text(text)) => return Ok(Some(Event::Text(text.into()))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return Ok(Some(Event::Control)),
            Ok(Message::Close(_)) => {
                self.open();
                return Ok(Some(Event::Close));
            }
            Ok(Message::Binary(_)) => return Err(Broken::Binary),
            Err(error) => match Broken::of(&error) {
                Some(broken) => broken,
                None => return Ok(None),
            },
        };
        // Where the next frame begins is not known any more.
        self.broken = true;
        self.memory.received = Bytes::new();
        Err(broken)
    }

    /// Sends a message.
    pub(super) fn send(&mut self, json: Vec<u8>) {
        let frame = Frame::message(json, OpCode::Data(Data::Text), true);
        // Writing to memory cannot fail.
        let _ = frame.format(&mut (&mut self.memory.outgoing).writer());
        self.text_bytes = self.memory.outgoing.len();
    }

    /// Says goodbye. Nothing may be sent after it.
    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        self.open();
        // A pong that still waits must not come behind the goodbye.
        let _ = self.context.flush(&mut self.memory);
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let _ = self.context.close(&mut self.memory, Some(frame));
    }

    /// Lets control frames out however much waits: from here on no others come.
    fn open(&mut self) {
        self.memory.open = true;
        self.context.set_config(|config| config.max_write_buffer_size = usize::MAX);
    }

    /// How many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.memory.outgoing.len()
    }

    /// Takes what is to be written next, and whether a message is in it.
    pub(super) fn take(&mut self, bytes_max: usize) -> (Bytes, bool) {
        // A control frame that had to wait goes behind what waits; to a closed conversation this adds nothing.
        let _ = self.context.flush(&mut self.memory);
        let outgoing = &mut self.memory.outgoing;
        let piece = outgoing.split_to(outgoing.len().min(bytes_max)).freeze();
        let says = self.text_bytes > 0;
        self.text_bytes = self.text_bytes.saturating_sub(piece.len());
        (piece, says)
    }
}

impl Broken {
    /// What an error of tungstenite's means; `None` that there is nothing more to read, for the moment or for good.
    fn of(error: &tungstenite::Error) -> Option<Self> {
        use tungstenite::Error as E;
        if let E::Capacity(_) = error {
            return Some(Self::TooLarge);
        }
        if let E::Utf8(_) = error {
            return Some(Self::NotText);
        }
        if let E::Protocol(problem) = error {
            return Some(Self::Protocol(problem.to_string().to_ascii_lowercase()));
        }
        None
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.received.len());
        self.received.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Memory {
    /// Whole frames or nothing: a message must not get between the parts of a control frame.
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        if !self.open && self.outgoing.len() > CONTROL_BYTES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outgoing.extend_from_slice(frames);
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
