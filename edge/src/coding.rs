//! Content codings: gzip, deflate, Brotli and Zstandard, whole bodies and single gRPC messages. Decoding stops at a bound, so that
//! a small body cannot become a large one unseen. Pure: bytes in, bytes out; which headers say what is decided by the callers.
//! What arrives in pieces is decoded by a [`Decoder`].

mod decoder;

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

pub use decoder::Decoder;

/// How much is decoded at a time. What is left of it is shorter than most bodies.
const STEP_BYTES: usize = 16 * 1024;
/// Levels for answers that are made once and read once: most of the gain for the least time.
const GZIP_LEVEL: u32 = 4;
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 1;
/// A Brotli window of 256 KiB: larger ones cost memory that one JSON answer does not use.
const BROTLI_WINDOW_LOG: u32 = 18;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// The zlib format of RFC 1950, whatever the name says (RFC 9110 section 8.4.1.2).
    Deflate,
    Brotli,
    Zstd,
}

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("more than the bound once decoded")]
    TooLarge,
    #[error("not in its coding")]
    Malformed,
    #[error("ends before its coding does")]
    Truncated,
    #[error("goes on behind the end of its coding")]
    Trailing,
}

impl Coding {
    /// The coding of a `Content-Encoding` or `grpc-encoding`; `None` for those that are unknown, `identity` among them.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// What `Content-Encoding` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of an answer to a request with this `Accept-Encoding`: the one it weighs most, and among equals the one that
    /// costs least. `deflate` is never used: clients disagree on what it is.
    #[must_use]
    pub fn accepted(accept: &str) -> Option<Self> {
        let weight = |coding: Self| {
            let mut any = None;
            for range in accept.split(',') {
                let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
                if Self::named(name.trim()) == Some(coding) {
                    return weight(parameters);
                }
                if name.trim() == "*" {
                    any = Some(weight(parameters));
                }
            }
            any.unwrap_or(0)
        };
        let rated = [Self::Gzip, Self::Brotli, Self::Zstd].map(|coding| (weight(coding), coding));
        // Of several that weigh the same the last: Zstandard is the fastest, gzip the slowest for what it gains.
        rated
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .max_by_key(|(weight, _)| *weight)
            .map(|best| best.1)
    }

    /// Decodes all of `bytes`.
    ///
    /// # Errors
    /// When they are not in this coding, end too early, or are more than `bytes_max` once decoded.
    pub fn decode(self, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
        let mut decoder = Decoder::new(self)?;
        let (mut out, mut read, mut length) = (Vec::new(), 0, 0);
        loop {
            // One byte of room behind the bound tells a body that fills it from one that exceeds it.
            out.resize((length + STEP_BYTES).min(bytes_max.saturating_add(1)), 0);
            let (taken, written) = decoder.decode(&bytes[read..], &mut out[length..])?;
            (read, length) = (read + taken, length + written);
            if length > bytes_max {
                return Err(DecodeError::TooLarge);
            }
            if length < out.len() {
                break;
            }
        }
        decoder.finish()?;
        out.truncate(length);
        Ok(out)
    }

    /// Encodes `bytes`; `None` where that makes them no smaller.
    #[must_use]
    pub fn encode(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let encoded = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
            Self::Deflate => return None,
            Self::Brotli => brotli(bytes),
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
        };
        // Writing to memory does not fail; if it ever did, the plain bytes are as good an answer.
        encoded.ok().filter(|encoded| encoded.len() < bytes.len())
    }
}

fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    {
        let (level, window) = (BROTLI_LEVEL, BROTLI_WINDOW_LOG);
        let mut encoder = brotli::CompressorWriter::new(&mut out, BROTLI_BUFFER_BYTES, level, window);
        // The end of the stream is written when the encoder is dropped.
        encoder.write_all(bytes)?;
    }
    Ok(out)
}

/// The weight of a range in thousandths (RFC 9110 section 12.4.2); what cannot be read weighs nothing.
fn weight(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(q) = q else { return 1000 };
    q.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).map_or(0, |q| (q * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        if coding != Coding::Deflate {
            return coding.encode(bytes).unwrap();
        }
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_encoded_is_decoded_up_to_its_bound() {
        let text = b"{\"name\":\"value\"}".repeat(3000);
        for coding in ALL {
            let encoded = encode(coding, &text);
            assert!(encoded.len() < text.len() / 10, "{coding:?}");
            assert_eq!(coding.decode(&encoded, text.len()).unwrap(), text, "{coding:?}");
            assert_eq!(coding.decode(&encoded, text.len() - 1), Err(DecodeError::TooLarge), "{coding:?}");
            assert_eq!(coding.decode(b"no such thing", 100), Err(DecodeError::Malformed), "{coding:?}");
        }
    }

    #[test]
    fn an_end_that_comes_too_early_or_too_late_is_told() {
        let text: Vec<u8> =
            (0..2000_u32).flat_map(|number| number.wrapping_mul(number).to_le_bytes()).collect();
        for coding in ALL {
            let encoded = encode(coding, &text);
            for end in (1..encoded.len()).step_by(97).chain([encoded.len() - 1]) {
                let cut = coding.decode(&encoded[..end], text.len());
                assert_eq!(cut, Err(DecodeError::Truncated), "{coding:?} {end}");
            }
            for trailing in [&b"x"[..], b"\0", b"\r\n"] {
                let longer = [&encoded, trailing].concat();
                assert_eq!(coding.decode(&longer, text.len()), Err(DecodeError::Trailing), "{coding:?}");
            }
            assert_eq!(coding.decode(b"", 0), Ok(Vec::new()), "{coding:?}");
        }
        for coding in [Coding::Gzip, Coding::Zstd] {
            let twice = [encode(coding, &text), encode(coding, &text)].concat();
            assert_eq!(
                coding.decode(&twice, text.len() * 2).unwrap(),
                [&text[..], &text].concat(),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn pieces_of_any_size_are_decoded_into_room_of_any_size() {
        let text = b"a little, and a little more. ".repeat(200);
        for coding in ALL {
            let encoded = encode(coding, &text);
            for (piece, room) in [(1, 1), (1, 4096), (7, 13), (encoded.len(), 100)] {
                let mut decoder = Decoder::new(coding).unwrap();
                let (mut decoded, mut out) = (Vec::new(), vec![0; room]);
                for mut input in encoded.chunks(piece) {
                    loop {
                        let (read, written) = decoder.decode(input, &mut out).unwrap();
                        input = &input[read..];
                        decoded.extend_from_slice(&out[..written]);
                        if written < room {
                            break;
                        }
                    }
                    assert!(input.is_empty(), "{coding:?}");
                }
                decoder.finish().unwrap();
                assert!(decoded == text, "{coding:?} {piece} {room}");
            }
        }
    }

    #[test]
    fn windows_without_a_bound_are_refused() {
        // A window of 2^30 bytes, which only the large-window form has.
        assert_eq!(Coding::Brotli.decode(&[0x11, 0x1e, 0, 0, 0, 0], 100), Err(DecodeError::Malformed));
        // A Zstandard frame whose header asks for 2^31 bytes.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
        assert_eq!(Coding::Zstd.decode(&frame, 100), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_bomb_goes_off_at_the_bound() {
        let zeros = vec![0; 50 << 20];
        for coding in ALL {
            let bomb = encode(coding, &zeros);
            assert_eq!(coding.decode(&bomb, 1 << 20), Err(DecodeError::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        for coding in ALL {
            assert_eq!(coding.encode(b"{}"), None, "{coding:?}");
        }
    }

    #[test]
    fn the_client_weighs_and_among_equals_the_cheapest_wins() {
        let check =
            |accept: &str, expect: Option<Coding>| assert_eq!(Coding::accepted(accept), expect, "{accept}");
        check("", None);
        check("identity", None);
        check("deflate", None);
        check("gzip", Some(Coding::Gzip));
        check("gzip, deflate, br", Some(Coding::Brotli));
        check("gzip, deflate, br, zstd", Some(Coding::Zstd));
        check("gzip;q=1.0, br;q=0.5", Some(Coding::Gzip));
        check("br;q=0, GZIP;Q=0.1", Some(Coding::Gzip));
        check("*", Some(Coding::Zstd));
        check("*;q=0.5, zstd;q=0", Some(Coding::Brotli));
        check("gzip;q=soon", None);
    }
}
