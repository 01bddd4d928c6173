//! A body as a stream of JSON values, cut apart while it arrives: the elements of an array if its first byte is `[`, else values
//! that follow one another, mostly one a line. Only the ends of values are looked for, each byte once; whether a value is JSON
//! is for the strict reader to say, which gets each of them whole. So however a body is cut into pieces, the values are the same.

use bytes::{Buf as _, Bytes, BytesMut};

use super::json::plain_run;
use super::{DEPTH_MAX, RequestError};

/// See the module.
#[derive(Debug)]
pub struct Splitter {
    /// From the value at hand on.
    received: BytesMut,
    /// Where `received` begins in the body.
    offset: usize,
    place: Place,
    array: bool,
    value_bytes_max: usize,
}

/// One value of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins in the body.
    pub offset: usize,
    pub json: Bytes,
}

/// Where in the stream the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before everything.
    Start,
    /// Behind the bracket that opens the array.
    First,
    /// Behind a comma of the array.
    Next,
    /// Behind a value of the array.
    After,
    /// Behind the bracket that closes the array.
    End,
    /// Between values that stand in no array.
    Between,
    /// In a value, of which `at` bytes have been seen.
    Value { at: usize, scan: Scan },
}

/// What ends the value at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    /// A number or a word: whatever cannot belong to one.
    Bare,
    /// The quote of a string inside this many containers.
    Text { depth: usize },
    /// The bracket that closes the outermost of this many containers.
    Container { depth: usize },
}

impl Splitter {
    /// A splitter of values of at most `value_bytes_max` bytes.
    #[must_use]
    pub fn new(value_bytes_max: usize) -> Self {
        Self { received: BytesMut::new(), offset: 0, place: Place::Start, array: false, value_bytes_max }
    }

    /// How many bytes have come and not been taken out.
    pub fn waiting(&self) -> usize {
        self.received.len()
    }

    /// Takes the next piece of the body.
    pub fn push(&mut self, piece: Bytes) {
        if self.received.is_empty() {
            self.received = BytesMut::from(piece);
        } else {
            self.received.extend_from_slice(&piece);
        }
    }

    /// The next value that has arrived whole.
    ///
    /// # Errors
    /// When what stands between values is not JSON, or a value exceeds its bounds.
    pub fn next_part(&mut self) -> Result<Option<Part>, RequestError> {
        loop {
            if let Place::Value { at, scan } = self.place {
                return self.scan(at, scan);
            }
            let space = self.received.iter().take_while(|byte| is_space(**byte)).count();
            self.pass(space);
            let Some(byte) = self.received.first().copied() else { return Ok(None) };
            self.place = match (self.place, byte) {
                (Place::Start, b'[') => {
                    self.array = true;
                    self.pass(1);
                    Place::First
                }
                (Place::First | Place::After, b']') => {
                    self.pass(1);
                    Place::End
                }
                (Place::After, b',') => {
                    self.pass(1);
                    Place::Next
                }
                (Place::After, _) => return Err(self.malformed("expected , or ]")),
                (Place::End, _) => return Err(self.malformed("data after the end")),
                (Place::First | Place::Next, b',' | b']') => return Err(self.malformed("expected a value")),
                _ => Place::Value { at: 1, scan: Scan::begin(byte) },
            };
        }
    }

    /// The last value, if only the end of the body ends it. Nothing may be pushed after this.
    ///
    /// # Errors
    /// When the body ends where it may not.
    pub fn finish(&mut self) -> Result<Option<Part>, RequestError> {
        match self.place {
            Place::Start | Place::Between | Place::End => Ok(None),
            Place::Value { at, scan: Scan::Bare } if !self.array => Ok(Some(self.cut(at))),
            Place::Value { .. } | Place::First | Place::Next | Place::After => {
                self.pass(self.received.len());
                Err(self.malformed("ends too early"))
            }
        }
    }

    fn scan(&mut self, mut at: usize, mut scan: Scan) -> Result<Option<Part>, RequestError> {
        let ended = loop {
            let rest = &self.received[at..];
            if let Scan::Text { .. } = scan {
                at += plain_run(rest);
            }
            let Some(byte) = self.received.get(at).copied() else { break false };
            scan = match (scan, byte) {
                (Scan::Bare, b',' | b']') if self.array => break true,
                (Scan::Bare, byte) if is_space(byte) => break true,
                (Scan::Text { depth: 0 }, b'"') => {
                    at += 1;
                    break true;
                }
                (Scan::Text { depth }, b'"') => Scan::Container { depth },
                // What is escaped ends nothing. It may not have arrived.
                (Scan::Text { .. }, b'\\') if self.received.len() == at + 1 => break false,
                (Scan::Text { .. }, b'\\') => {
                    at += 1;
                    scan
                }
                (Scan::Container { depth }, b'"') => Scan::Text { depth },
                // A value that was too large before it got too deep is too large, as it is where it comes in pieces.
                (Scan::Container { depth: DEPTH_MAX }, b'{' | b'[') if at <= self.value_bytes_max => {
                    self.pass(at);
                    return Err(self.malformed("nested too deep"));
                }
                (Scan::Container { depth: DEPTH_MAX }, b'{' | b'[') => break false,
                (Scan::Container { depth }, b'{' | b'[') => Scan::Container { depth: depth + 1 },
                (Scan::Container { depth: 1 }, b'}' | b']') => {
                    at += 1;
                    break true;
                }
                (Scan::Container { depth }, b'}' | b']') => Scan::Container { depth: depth - 1 },
                (Scan::Bare | Scan::Text { .. } | Scan::Container { .. }, _) => scan,
            };
            at += 1;
        };
        if at > self.value_bytes_max {
            return Err(RequestError::TooLarge { bytes_max: self.value_bytes_max });
        }
        if ended {
            return Ok(Some(self.cut(at)));
        }
        self.place = Place::Value { at, scan };
        Ok(None)
    }

    /// Hands out the value that the next `length` bytes are.
    fn cut(&mut self, length: usize) -> Part {
        let part = Part { offset: self.offset, json: self.received.split_to(length).freeze() };
        self.offset += length;
        self.place = if self.array { Place::After } else { Place::Between };
        part
    }

    fn pass(&mut self, bytes: usize) {
        self.received.advance(bytes);
        self.offset += bytes;
    }

    const fn malformed(&self, reason: &'static str) -> RequestError {
        RequestError::MalformedJson { offset: self.offset, reason }
    }
}

impl Scan {
    /// The scan of a value behind its first byte.
    const fn begin(byte: u8) -> Self {
        match byte {
            b'{' | b'[' => Self::Container { depth: 1 },
            b'"' => Self::Text { depth: 0 },
            _ => Self::Bare,
        }
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests;
