//! A request's path, cut at its slashes. Cutting comes before decoding: an encoded slash never separates.

use std::borrow::Cow;

use super::escape;

/// More segments than this have no route; the bound keeps the cut on the stack.
pub(super) const SEGMENTS_MAX: usize = 64;

/// A path in segments. `/` has none, `/a/` has two of which the second is empty.
#[derive(Clone, Debug)]
pub(super) struct Segments<'p> {
    path: &'p str,
    /// Where each segment starts, and one past the end plus one of the last.
    starts: [u16; SEGMENTS_MAX + 1],
    count: usize,
    /// The segments without their escapes, if the path has any.
    decoded: Vec<Cow<'p, [u8]>>,
}

impl<'p> Segments<'p> {
    /// Cuts a path that starts with a slash and is shorter than 64 KiB; `None` if it has too many segments.
    pub(super) fn cut(path: &'p str) -> Option<Self> {
        let mut segments = Self { path, starts: [1; SEGMENTS_MAX + 1], count: 0, decoded: Vec::new() };
        if path.len() <= 1 {
            return Some(segments);
        }
        let bytes = path.as_bytes();
        let ends = (1..bytes.len()).filter(|index| bytes[*index] == b'/').chain([bytes.len()]);
        for end in ends {
            if segments.count == SEGMENTS_MAX {
                return None;
            }
            segments.count += 1;
            segments.starts[segments.count] = u16::try_from(end + 1).ok()?;
        }
        if bytes.contains(&b'%') {
            segments.decoded =
                (0..segments.count).map(|i| escape::decode_whole(segments.raw(i, i + 1))).collect();
        }
        Some(segments)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The path text of a range of segments, slashes between them included.
    pub(super) fn raw(&self, from: usize, to: usize) -> &'p str {
        if from >= to {
            return "";
        }
        let (start, end) = (usize::from(self.starts[from]), usize::from(self.starts[to]) - 1);
        self.path.get(start..end).unwrap_or_default()
    }

    /// One segment, decoded.
    pub(super) fn decoded(&self, index: usize) -> &[u8] {
        match self.decoded.get(index) {
            Some(segment) => segment,
            None => self.raw(index, index + 1).as_bytes(),
        }
    }
}
