//! Base64 as gRPC-Web's text form has it: a sequence of pieces, each padded for itself wherever its writer flushed, cut anywhere
//! on the way. The decoder holds at most three characters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters that stand for three bytes.
const GROUP: usize = 4;

/// A body that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Decodes a body as it comes.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a group.
    held: [u8; GROUP],
    filled: usize,
}

impl Decoder {
    /// Decodes what has come and appends it to `out`.
    ///
    /// # Errors
    /// When it is not base64.
    pub fn decode(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.filled > 0 {
            let taken = text.len().min(GROUP - self.filled);
            self.held[self.filled..self.filled + taken].copy_from_slice(&text[..taken]);
            (self.filled, text) = (self.filled + taken, &text[taken..]);
            if self.filled < GROUP {
                return Ok(());
            }
            self.filled = 0;
            put(&self.held, out)?;
        }
        let (whole, rest) = text.split_at(text.len() - text.len() % GROUP);
        self.held[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
        pieces(whole, out)
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// When it ends inside a group.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.filled == 0 { Ok(()) } else { Err(Malformed) }
    }
}

/// Decodes whole groups, a padded one of which ends a piece.
fn pieces(mut groups: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    while !groups.is_empty() {
        let padding = groups.iter().position(|byte| *byte == b'=');
        let end = padding.map_or(groups.len(), |place| place - place % GROUP + GROUP);
        let (piece, rest) = groups.split_at(end);
        put(piece, out)?;
        groups = rest;
    }
    Ok(())
}

fn put(piece: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    STANDARD.decode_vec(piece, out).map_err(|_| Malformed)
}

/// A piece, padded for itself: what is flushed can be read without what follows.
#[must_use]
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    STANDARD.encode(bytes).into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(parts: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for part in parts {
            decoder.decode(part, &mut out)?;
        }
        decoder.finish().map(|()| out)
    }

    #[test]
    fn padded_pieces_are_one_body() {
        let check = |text: &str, expect: Option<&[u8]>| {
            assert_eq!(decoded(&[text.as_bytes()]).ok().as_deref(), expect, "{text:?}");
        };
        check("", Some(b""));
        check("AAAA", Some(&[0, 0, 0]));
        check("YQ==YmM=ZGVm", Some(b"abcdef"));
        check("YQ==YQ==", Some(b"aa"));
        for text in
            ["A", "AA", "AAA", "YQ=", "YQ===", "=", "====", "Y===", "YQ=Y", "YR==", "YW-_", "YQ==\n", " YQ=="]
        {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn pieces_come_out_wherever_they_were_flushed_and_cut(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10),
            cuts in proptest::collection::vec(1_usize..9, 1..40),
        ) {
            let text: Vec<u8> = pieces.iter().flat_map(|piece| encode(piece)).collect();
            let mut parts = Vec::new();
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                parts.push(part);
                rest = after;
            }
            prop_assert_eq!(decoded(&parts), Ok(pieces.concat()));
        }

        #[test]
        fn any_text_is_answered(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decoded(&[&text]);
        }
    }
}
