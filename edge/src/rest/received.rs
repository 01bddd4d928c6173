//! What has been received of an answer and not taken yet. A message mostly comes in one piece and is handed out as a part of that;
//! only one that spans several is put together.

use bytes::{Bytes, BytesMut};

/// See the module. Bytes are in one of the two, never in both.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// A piece as it came.
    piece: Bytes,
    /// Pieces put together.
    joined: BytesMut,
}

impl Received {
    /// All there is.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.piece } else { &self.joined }
    }

    /// Takes in what has arrived.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.bytes().is_empty() {
            self.piece = piece;
            return;
        }
        let before = std::mem::take(&mut self.piece);
        self.joined.reserve(before.len() + piece.len());
        self.joined.extend_from_slice(&before);
        self.joined.extend_from_slice(&piece);
    }

    /// Hands out the first `count` bytes, which must be there.
    pub(super) fn split_to(&mut self, count: usize) -> Bytes {
        if self.joined.is_empty() { self.piece.split_to(count) } else { self.joined.split_to(count).freeze() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(steps in proptest::collection::vec((0_usize..20, 0_usize..20), 0..40)) {
            let (mut received, mut next, mut out) = (Received::default(), 0_u8, 0_u8);
            for (arrived, taken) in steps {
                let piece: Vec<u8> = (0..arrived).map(|_| { next = next.wrapping_add(1); next }).collect();
                received.push(piece.into());
                let taken = taken.min(received.bytes().len());
                for byte in received.split_to(taken) {
                    out = out.wrapping_add(1);
                    prop_assert_eq!(byte, out);
                }
            }
            prop_assert_eq!(received.bytes().len() % 256, usize::from(next.wrapping_sub(out)));
        }
    }
}
