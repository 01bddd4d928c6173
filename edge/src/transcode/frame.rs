//! The frames of gRPC messages: one byte of flags, four bytes of length, the message.

/// The length of a frame's prefix.
pub const PREFIX_BYTES: usize = 5;

/// What the prefix of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub compressed: bool,
    pub length: usize,
}

impl Prefix {
    /// Reads a prefix; `None` for flags that gRPC does not have.
    #[must_use]
    pub const fn parse(bytes: [u8; PREFIX_BYTES]) -> Option<Self> {
        let compressed = match bytes[0] {
            0 => false,
            1 => true,
            _ => return None,
        };
        let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
        Some(Self { compressed, length })
    }
}

/// Makes room for a prefix at the end of `out`, before its message is appended.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    start
}

/// Writes the prefix that [`begin`] made room for, once its message stands. A message is below 4 GiB by every limit above it.
pub fn end(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - PREFIX_BYTES).unwrap_or(u32::MAX);
    out[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}
