//! What passes on a connection of HTTP/2, frame by frame, without taking part in it: whether a header block is on its way, which must
//! come to its end in time, and how many frames come that carry nothing. `h2` bounds what these cost in memory and not how long or
//! how often they come. Pure: bytes in, a verdict out.

use std::time::Duration;

use tokio::time::Instant;

/// The client preface (RFC 9113 section 3.4); a SETTINGS frame follows.
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Over how long frames are counted: long enough for the burst of a page that is left or a deadline that many calls share.
const WINDOW: Duration = Duration::from_secs(10);

/// More frames that carry nothing than anybody needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flood;

/// See the module.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to come of what needs no look: the preface, or the payload at hand.
    passing: usize,
    /// The header of the frame at hand, as far as it has come.
    header: [u8; HEADER_BYTES],
    have: usize,
    /// Whether what is at hand must come to its end in time: the preface and all frames but DATA.
    timed: bool,
    /// A header block has begun and not ended.
    in_block: bool,
    counted: u32,
    counted_max: u32,
    since: Option<Instant>,
}

impl Frames {
    /// Of a new connection that may have `counted_max` frames without content in ten seconds.
    pub(super) const fn new(counted_max: u32) -> Self {
        Self {
            passing: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            have: 0,
            timed: true,
            // Until its first frame, a connection has not said what it wants.
            in_block: true,
            counted: 0,
            counted_max,
            since: None,
        }
    }

    /// Looks at what has arrived.
    pub(super) fn pass(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let passed = self.passing.min(bytes.len());
                self.passing -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let wanted = (HEADER_BYTES - self.have).min(bytes.len());
            let (part, rest) = bytes.split_at(wanted);
            self.header[self.have..self.have + wanted].copy_from_slice(part);
            (self.have, bytes) = (self.have + wanted, rest);
            if self.have == HEADER_BYTES {
                self.have = 0;
                self.begin(&now)?;
            }
        }
        Ok(())
    }

    /// Whether something is on its way that must come to its end in time.
    pub(super) const fn is_waiting(&self) -> bool {
        self.in_block || self.have > 0 || (self.passing > 0 && self.timed)
    }

    /// A frame begins.
    fn begin(&mut self, now: impl Fn() -> Instant) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.passing = usize::try_from(length).unwrap_or(usize::MAX);
        self.timed = kind != DATA;
        // Within a block there is no other frame, and h2 says so; the first frame of all ends the wait for it.
        self.in_block = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        let carries = match kind {
            DATA => length > 0 || flags & END_STREAM != 0,
            HEADERS | CONTINUATION => length > 0,
            // A reader of bulk sends one for every few kilobytes, and h2 takes those that open nothing for errors.
            WINDOW_UPDATE => true,
            _ => false,
        };
        if carries { Ok(()) } else { self.count(now) }
    }

    fn count(&mut self, now: impl Fn() -> Instant) -> Result<(), Flood> {
        if self.counted == 0 || self.counted >= self.counted_max {
            let now = now();
            let window_is_over = self.since.is_none_or(|since| now.duration_since(since) >= WINDOW);
            if window_is_over {
                (self.counted, self.since) = (0, Some(now));
            } else if self.counted >= self.counted_max {
                return Err(Flood);
            }
        }
        self.counted += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 0x4;
    const PING: u8 = 0x6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A connection whose preface and first SETTINGS have come.
    fn opened(counted_max: u32, now: impl Fn() -> Instant) -> Frames {
        let mut frames = Frames::new(counted_max);
        frames.pass(&[b'P'; PREFACE_BYTES], &now).unwrap();
        assert!(frames.is_waiting());
        frames.pass(&frame(SETTINGS, 0, &[0; 6]), &now).unwrap();
        assert!(!frames.is_waiting());
        frames
    }

    #[test]
    fn a_header_block_is_waited_for_from_its_first_byte_to_its_last() {
        let block = [
            frame(HEADERS, 0, &[0; 20]),
            frame(CONTINUATION, 0, &[0; 5]),
            frame(CONTINUATION, END_HEADERS, &[0; 300]),
        ]
        .concat();
        let mut frames = opened(10, Instant::now);
        for at in 0..block.len() {
            frames.pass(&block[at..=at], Instant::now).unwrap();
            assert_eq!(frames.is_waiting(), at + 1 < block.len(), "after {at}");
        }
        frames.pass(&block, Instant::now).unwrap();
        assert!(!frames.is_waiting(), "in one piece as well");
    }

    #[test]
    fn the_data_of_a_stream_may_take_its_time() {
        let mut frames = opened(10, Instant::now);
        let data = frame(DATA, 0, &[0; 1000]);
        frames.pass(&data[..5], Instant::now).unwrap();
        assert!(frames.is_waiting(), "nobody knows yet what it is");
        frames.pass(&data[5..500], Instant::now).unwrap();
        assert!(!frames.is_waiting());
        frames.pass(&data[500..], Instant::now).unwrap();
        assert!(!frames.is_waiting());
    }

    #[test]
    fn frames_that_carry_nothing_are_counted_over_a_window() {
        let start = Instant::now();
        let at = |seconds: u64| move || start + Duration::from_secs(seconds);
        for nothing in [
            frame(PING, 0, &[0; 8]),
            frame(0x3, 0, &[0; 4]),
            frame(0x2, 0, &[0; 5]),
            frame(0x77, 0, b"?"),
            frame(DATA, 0, &[]),
            frame(HEADERS, 0, &[]),
        ] {
            // SETTINGS was the first.
            let mut frames = opened(10, at(0));
            for _ in 0..9 {
                frames.pass(&nothing, at(1)).unwrap();
            }
            assert_eq!(frames.pass(&nothing, at(9)), Err(Flood), "{nothing:?}");
            let mut frames = opened(10, at(0));
            for second in 0..300 {
                frames.pass(&nothing, at(2 * second + 60)).unwrap();
            }
        }
        let mut frames = opened(10, at(0));
        for something in
            [frame(DATA, 0, b"x"), frame(DATA, END_STREAM, &[]), frame(WINDOW_UPDATE, 0, &[0; 4])]
        {
            for _ in 0..100 {
                frames.pass(&something, at(1)).unwrap();
            }
        }
    }
}
