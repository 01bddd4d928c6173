//! Counts the gRPC messages in a stream of bytes, without holding any of them: only the five bytes before each message are
//! looked at, wherever the parts of the stream are cut.

use super::Traffic;

/// Compressed flag and length.
const PREFIX_BYTES: usize = 5;

/// Where in the stream of messages a direction is.
#[derive(Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    /// What is still to come of the message that has begun.
    rest: usize,
    traffic: Traffic,
}

/// A message that is longer than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Messages {
    /// Takes note of a part; messages longer than `bytes_max` are refused when their prefix is complete.
    pub(super) fn pass(&mut self, mut part: &[u8], bytes_max: u32) -> Result<(), TooLarge> {
        self.traffic.bytes += part.len() as u64;
        while !part.is_empty() {
            let skipped = self.rest.min(part.len());
            (self.rest, part) = (self.rest - skipped, &part[skipped..]);
            let taken = part.len().min(PREFIX_BYTES - self.prefix_filled);
            self.prefix[self.prefix_filled..self.prefix_filled + taken].copy_from_slice(&part[..taken]);
            (self.prefix_filled, part) = (self.prefix_filled + taken, &part[taken..]);
            if self.prefix_filled < PREFIX_BYTES {
                return Ok(());
            }
            let [_compressed, length @ ..] = self.prefix;
            let length = u32::from_be_bytes(length);
            self.prefix_filled = 0;
            self.traffic.messages += 1;
            if length > bytes_max {
                return Err(TooLarge);
            }
            self.rest = length as usize;
        }
        Ok(())
    }

    /// Whether the stream stands between two messages.
    pub(super) fn is_whole(&self) -> bool {
        self.prefix_filled == 0 && self.rest == 0
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(lengths: &[usize]) -> Vec<u8> {
        let mut stream = Vec::new();
        for length in lengths {
            stream.push(0);
            stream.extend((u32::try_from(*length).unwrap()).to_be_bytes());
            // Bytes that would read as absurd lengths, were they taken for a prefix.
            stream.extend(std::iter::repeat_n(0xff, *length));
        }
        stream
    }

    proptest! {
        #[test]
        fn messages_are_counted_wherever_the_stream_is_cut(
            lengths in proptest::collection::vec(0_usize..40, 0..20),
            cuts in proptest::collection::vec(1_usize..30, 1..60),
        ) {
            let stream = stream(&lengths);
            let mut messages = Messages::default();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                messages.pass(part, 40).unwrap();
                rest = after;
            }
            prop_assert_eq!(messages.traffic(), Traffic { bytes: stream.len() as u64, messages: lengths.len() as u64 });
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_prefix() {
        let mut messages = Messages::default();
        assert_eq!(messages.pass(&stream(&[10, 10]), 10), Ok(()));
        assert_eq!(messages.pass(&[0, 0, 0, 0], 10), Ok(()));
        assert_eq!(messages.pass(&[11], 10), Err(TooLarge));
    }
}
