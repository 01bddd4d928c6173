//! The protobuf wire format, to the extent transcoding needs it: varints, tags, lengths that are patched in once known, and a
//! reader that never panics on what an upstream sends.

use std::borrow::Cow;

use super::ResponseError;

/// Wire types, as in the low three bits of a tag.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LEN: u8 = 2;
pub(super) const GROUP_START: u8 = 3;
pub(super) const GROUP_END: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// Groups that may stand inside one another in skipped fields.
const GROUPS_MAX: usize = 100;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// A length-delimited field whose bytes are at hand.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, LEN);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Makes room for a length; its bytes follow.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Patches the length of what follows `start`. Most nested messages are shorter than 128 bytes and stay where they are.
pub(super) fn end(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let more = varint_bytes(length as u64) - 1;
    let old_end = out.len();
    out.resize(old_end + more, 0);
    out.copy_within(start..old_end, start + more);
    let mut rest = length;
    for byte in &mut out[start - 1..start - 1 + more] {
        *byte = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    out[start - 1 + more] = rest as u8;
}

const fn varint_bytes(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

pub(super) const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A place in the bytes of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'m> {
    bytes: &'m [u8],
    pub(super) at: usize,
}

impl<'m> Reader<'m> {
    pub(super) const fn new(bytes: &'m [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn at(bytes: &'m [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn varint(&mut self) -> Result<u64, ResponseError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(ResponseError::Malformed)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(ResponseError::Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ResponseError::Malformed)
    }

    /// Field number and wire type.
    pub(super) fn tag(&mut self) -> Result<(u32, u8), ResponseError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| ResponseError::Malformed)?;
        if tag >> 3 == 0 {
            return Err(ResponseError::Malformed);
        }
        Ok((tag >> 3, (tag & 7) as u8))
    }

    fn take(&mut self, count: usize) -> Result<&'m [u8], ResponseError> {
        let end = self.at.checked_add(count).ok_or(ResponseError::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(ResponseError::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn fixed32(&mut self) -> Result<u32, ResponseError> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| ResponseError::Malformed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, ResponseError> {
        let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| ResponseError::Malformed)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn len_delimited(&mut self) -> Result<&'m [u8], ResponseError> {
        let length = usize::try_from(self.varint()?).map_err(|_| ResponseError::Malformed)?;
        self.take(length)
    }

    /// Steps over a value. A group ends at its own end tag, whatever is inside.
    pub(super) fn skip(&mut self, number: u32, wire_type: u8) -> Result<(), ResponseError> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            LEN => self.len_delimited().map(drop),
            FIXED32 => self.take(4).map(drop),
            GROUP_START => self.skip_group(number),
            _ => Err(ResponseError::Malformed),
        }
    }

    fn skip_group(&mut self, number: u32) -> Result<(), ResponseError> {
        let mut open = vec![number];
        while let Some(innermost) = open.last() {
            match self.tag()? {
                (number, GROUP_END) if number == *innermost => drop(open.pop()),
                (_, GROUP_END) => return Err(ResponseError::Malformed),
                (_, GROUP_START) if open.len() == GROUPS_MAX => return Err(ResponseError::TooDeep),
                (number, GROUP_START) => open.push(number),
                (number, wire_type) => self.skip(number, wire_type)?,
            }
        }
        Ok(())
    }
}

/// Whether a message has a field; what stands behind bytes that are broken is not there.
pub(super) fn has(message: &[u8], wanted: u32) -> bool {
    let mut reader = Reader::new(message);
    while let Ok((number, wire_type)) = reader.tag() {
        if number == wanted {
            return true;
        }
        if reader.skip(number, wire_type).is_err() {
            return false;
        }
    }
    false
}

/// The last occurrence of a length-delimited field: the last one wins.
pub(super) fn last_bytes(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, ResponseError> {
    let mut reader = Reader::new(message);
    let mut found = None;
    while !reader.is_empty() {
        match reader.tag()? {
            (number, LEN) if number == wanted => found = Some(reader.len_delimited()?),
            (number, wire_type) => reader.skip(number, wire_type)?,
        }
    }
    Ok(found)
}

/// The parts of a message in a field as one: merging messages is concatenating their bytes. Copies only what is split.
pub(super) fn joined_bytes(message: &[u8], wanted: u32) -> Result<Cow<'_, [u8]>, ResponseError> {
    let mut reader = Reader::new(message);
    let mut joined = Cow::Borrowed(&[][..]);
    while !reader.is_empty() {
        match reader.tag()? {
            (number, LEN) if number == wanted => join(&mut joined, reader.len_delimited()?),
            (number, wire_type) => reader.skip(number, wire_type)?,
        }
    }
    Ok(joined)
}

/// Adds another part to those of a message.
pub(super) fn join<'m>(joined: &mut Cow<'m, [u8]>, part: &'m [u8]) {
    if joined.is_empty() {
        *joined = Cow::Borrowed(part);
    } else {
        joined.to_mut().extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_size_are_patched_in() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut out = b"before".to_vec();
            let start = begin(&mut out);
            out.resize(out.len() + length, 7);
            end(&mut out, start);
            let mut reader = Reader::new(&out[6..]);
            assert_eq!(reader.len_delimited().map(<[u8]>::len), Ok(length));
            assert!(reader.is_empty(), "{length}");
        }
    }

    #[test]
    fn broken_messages_are_errors() {
        for bytes in [
            &[0x80][..],
            &[0xff; 11],
            &[0x0a, 5, 1],
            &[0x0d, 1],
            &[0x0b, 0x08, 1],
            &[0x0b, 0x14],
            &[0x02, 0],
            &[0x0e],
        ] {
            let mut reader = Reader::new(bytes);
            let verdict = reader.tag().and_then(|(number, wire_type)| reader.skip(number, wire_type));
            assert!(verdict.is_err(), "{bytes:x?}");
        }
    }
}
