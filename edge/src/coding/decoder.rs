//! Decoding as the bytes arrive: each step takes some and gives at most as many as there is room for, so that whoever decodes
//! decides how much a piece may become. The four libraries have this already; here they are given one shape, and the ends that
//! they overlook are noticed: bytes that end too early, and bytes behind the end.

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, HuffmanCode};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Operation as _};

use super::{Coding, DecodeError};

/// The largest window a Zstandard body may ask for, 8 MiB: what RFC 8878 asks every decoder to have.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What deflate knows at most, 32 KiB.
const DEFLATE_WINDOW_LOG: u8 = 15;

/// See the module. Its memory is the coding's window, taken as bytes come to fill it: 32 KiB for gzip and deflate, at most
/// 8 MiB for Zstandard, 16 MiB for Brotli.
pub struct Decoder {
    state: State,
    /// Whether a member has begun.
    begun: bool,
    /// Whether the bytes so far may be all: none, or whole members.
    whole: bool,
}

enum State {
    Gzip(Decompress),
    Deflate(Decompress),
    Brotli(Box<Brotli>),
    Zstd(zstd::stream::raw::Decoder<'static>),
}

type Brotli = BrotliState<HeapAlloc<u8>, HeapAlloc<u32>, HeapAlloc<HuffmanCode>>;

/// What a step did.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl Decoder {
    /// A decoder of bytes in a coding.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(coding: Coding) -> Result<Self, DecodeError> {
        let state = match coding {
            Coding::Gzip => State::Gzip(Decompress::new_gzip(DEFLATE_WINDOW_LOG)),
            Coding::Deflate => State::Deflate(Decompress::new(true)),
            Coding::Brotli => State::Brotli(Box::new(BrotliState::new_strict(
                // Strict: without the windows of up to 1 GiB that are no part of RFC 7932.
                HeapAlloc::new(0),
                HeapAlloc::new(0),
                HeapAlloc::new(HuffmanCode::default()),
            ))),
            Coding::Zstd => {
                let decoder = zstd::stream::raw::Decoder::new();
                let mut decoder = decoder.map_err(|_| DecodeError::Malformed)?;
                let bound = decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
                bound.map_err(|_| DecodeError::Malformed)?;
                State::Zstd(decoder)
            }
        };
        Ok(Self { state, begun: false, whole: true })
    }

    /// Decodes from the front of `input` into `out`; says how many bytes were read and how many written. It stops when either
    /// is used up, and while `out` comes back full there may be more, even of no input.
    ///
    /// # Errors
    /// When the bytes are not in the coding.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        let (mut read, mut written) = (0, 0);
        while written < out.len() {
            let rest = &input[read..];
            if self.whole {
                let Some(first) = rest.first() else { break };
                if self.begun {
                    self.state.begin_another(*first)?;
                }
                (self.begun, self.whole) = (true, false);
            }
            let step = self.state.step(rest, &mut out[written..])?;
            (read, written) = (read + step.read, written + step.written);
            self.whole = step.ended;
            if step.read == 0 && step.written == 0 && !step.ended {
                // All that has come is decoded, or nothing can be made of it.
                if rest.is_empty() {
                    break;
                }
                return Err(DecodeError::Malformed);
            }
        }
        Ok((read, written))
    }

    /// Says that there are no more bytes.
    ///
    /// # Errors
    /// When there should be.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        if self.whole { Ok(()) } else { Err(DecodeError::Truncated) }
    }
}

impl State {
    /// Begins another member: gzip and Zstandard are whatever of them stands in a row (RFC 1952 section 2.2, RFC 8878 section 3).
    fn begin_another(&mut self, first: u8) -> Result<(), DecodeError> {
        match (self, first) {
            (Self::Gzip(decoder), 0x1f) => {
                *decoder = Decompress::new_gzip(DEFLATE_WINDOW_LOG);
                Ok(())
            }
            // A frame, or one that is to be skipped.
            (Self::Zstd(_), 0x28 | 0x50..=0x5f) => Ok(()),
            (Self::Gzip(_) | Self::Deflate(_) | Self::Brotli(_) | Self::Zstd(_), _) => {
                Err(DecodeError::Trailing)
            }
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, DecodeError> {
        match self {
            Self::Gzip(decoder) | Self::Deflate(decoder) => {
                let (read, written) = (decoder.total_in(), decoder.total_out());
                let status = decoder.decompress(input, out, FlushDecompress::None);
                let ended = status.map_err(|_| DecodeError::Malformed)? == Status::StreamEnd;
                // Both are at most the length of a slice.
                let (read, written) = (decoder.total_in() - read, decoder.total_out() - written);
                Ok(Step { read: read as usize, written: written as usize, ended })
            }
            Self::Brotli(state) => {
                let (mut left, mut room) = (input.len(), out.len());
                let (mut read, mut written) = (0, 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut read,
                    input,
                    &mut room,
                    &mut written,
                    out,
                    &mut 0,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(DecodeError::Malformed),
                    BrotliResult::ResultSuccess => Ok(Step { read, written, ended: true }),
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
                        Ok(Step { read, written, ended: false })
                    }
                }
            }
            Self::Zstd(decoder) => {
                let status = decoder.run_on_buffers(input, out).map_err(|_| DecodeError::Malformed)?;
                let ended = status.remaining == 0;
                Ok(Step { read: status.bytes_read, written: status.bytes_written, ended })
            }
        }
    }
}
