//! Wire bytes to JSON for the types whose JSON is not an object of their fields. Part of the one pass of `print`.

use std::borrow::Cow;

use super::json::put_string;
use super::print::{Printer, put_base64};
use super::types::{Form, MessageId};
use super::well_known::number;
use super::wire::{self, Reader};
use super::{ResponseError, text, time};

impl Printer<'_> {
    pub(super) fn known(&mut self, id: MessageId, form: Form, bytes: &[u8]) -> Result<(), ResponseError> {
        match form {
            Form::Object => self.message(id, bytes),
            Form::Timestamp => {
                let (seconds, nanos) = seconds(bytes)?;
                printable(time::put_timestamp(seconds, nanos, self.out), "google.protobuf.Timestamp")
            }
            Form::Duration => {
                let (seconds, nanos) = seconds(bytes)?;
                printable(time::put_duration(seconds, nanos, self.out), "google.protobuf.Duration")
            }
            Form::FieldMask => self.field_mask(bytes),
            Form::Wrapper => self.only_field(id, bytes),
            Form::Struct => self.structure(bytes),
            Form::Value => self.json_value(bytes),
            Form::ListValue => self.list_value(bytes),
            Form::Any => self.any(bytes),
        }
    }

    /// A wrapper is its one field; absent, that is at its default.
    fn only_field(&mut self, id: MessageId, bytes: &[u8]) -> Result<(), ResponseError> {
        let field = self.types.message(id).field(0);
        let mut reader = Reader::new(bytes);
        let mut value = None;
        while !reader.is_empty() {
            let (number, wire_type) = reader.tag()?;
            if number == field.number && wire_type == field.kind.wire_type() {
                value = Some(reader);
            }
            reader.skip(number, wire_type)?;
        }
        match value {
            Some(mut value) => self.scalar(field.kind, &mut value),
            None => {
                // Eight zero bytes are the default of every scalar: a varint, a length, a fixed number.
                self.scalar(field.kind, &mut Reader::new(&[0; 8]))
            }
        }
    }

    fn field_mask(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        self.out.push(b'"');
        let mut first = true;
        for_each(bytes, |number, wire_type, reader| {
            if (number, wire_type) != (1, wire::LEN) {
                return reader.skip(number, wire_type);
            }
            let path = std::str::from_utf8(reader.len_delimited()?).map_err(|_| ResponseError::Malformed)?;
            self.comma(&mut first);
            printable(text::append_camel_case(path, self.out), "google.protobuf.FieldMask")
        })?;
        self.out.push(b'"');
        Ok(())
    }

    fn structure(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        self.enter(b'{')?;
        let (mut first, outer) = (true, self.keys());
        for_each(bytes, |number, wire_type, reader| {
            if (number, wire_type) != (number::ENTRIES, wire::LEN) {
                return reader.skip(number, wire_type);
            }
            let entry = reader.len_delimited()?;
            let key = wire::last_bytes(entry, 1)?.unwrap_or_default();
            self.comma(&mut first);
            let start = self.out.len();
            put_string(self.out, std::str::from_utf8(key).map_err(|_| ResponseError::Malformed)?);
            self.note_key(start);
            self.out.push(b':');
            self.json_value(&wire::joined_bytes(entry, 2)?)
        })?;
        self.drop_overruled(outer);
        self.leave(b'}');
        Ok(())
    }

    fn list_value(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        self.enter(b'[')?;
        let mut first = true;
        for_each(bytes, |number, wire_type, reader| {
            if (number, wire_type) != (number::ELEMENTS, wire::LEN) {
                return reader.skip(number, wire_type);
            }
            let element = reader.len_delimited()?;
            self.comma(&mut first);
            self.json_value(element)
        })?;
        self.leave(b']');
        Ok(())
    }

    /// A `google.protobuf.Value`; one without a kind is null.
    fn json_value(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        let mut last: Option<(u32, u8, Reader<'_>)> = None;
        let mut joined = Cow::Borrowed(&[][..]);
        for_each(bytes, |number, wire_type, reader| {
            if matches!(number, number::NULL..=number::LIST) {
                // A list or an object in parts is whole only with those before it, unless another kind came between.
                if last.is_none_or(|(before, ..)| before != number) {
                    joined = Cow::Borrowed(&[]);
                }
                if matches!((number, wire_type), (number::STRUCT | number::LIST, wire::LEN)) {
                    let mut part = *reader;
                    wire::join(&mut joined, part.len_delimited()?);
                }
                last = Some((number, wire_type, *reader));
            }
            reader.skip(number, wire_type)
        })?;
        match last {
            Some((number::NUMBER, wire::FIXED64, mut reader)) => {
                let value = f64::from_bits(reader.fixed64()?);
                printable(value.is_finite(), "google.protobuf.Value")?;
                self.double(value);
            }
            Some((number::STRING, wire::LEN, mut reader)) => {
                let value =
                    std::str::from_utf8(reader.len_delimited()?).map_err(|_| ResponseError::Malformed)?;
                put_string(self.out, value);
            }
            Some((number::BOOL, wire::VARINT, mut reader)) => {
                let word: &[u8] = if reader.varint()? == 0 { b"false" } else { b"true" };
                self.out.extend_from_slice(word);
            }
            Some((number::STRUCT, wire::LEN, _)) => self.structure(&joined)?,
            Some((number::LIST, wire::LEN, _)) => self.list_value(&joined)?,
            Some((number::NULL, _, _)) | None => self.out.extend_from_slice(b"null"),
            Some(_) => return Err(ResponseError::Malformed),
        }
        Ok(())
    }

    /// An Any as its message's members beside `@type`. A type outside the descriptors, or a value that does not print, is
    /// shown as base64 and costs nothing else.
    pub(super) fn any(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        let type_url = wire::last_bytes(bytes, number::TYPE_URL)?.unwrap_or_default();
        let type_url = std::str::from_utf8(type_url).map_err(|_| ResponseError::Malformed)?;
        let value = wire::last_bytes(bytes, number::ANY_VALUE)?.unwrap_or_default();
        self.enter(b'{')?;
        if !type_url.is_empty() {
            self.out.extend_from_slice(b"\"@type\":");
            put_string(self.out, type_url);
            let mark = self.mark();
            let id = type_url.rsplit_once('/').and_then(|(_, name)| self.types.find(name));
            let verdict = match id.map(|id| (id, self.types.message(id).form)) {
                Some((id, Form::Object)) => self.members(id, value, false),
                Some((id, form)) => {
                    self.out.extend_from_slice(b",\"value\":");
                    self.known(id, form, value)
                }
                None => Err(ResponseError::Malformed),
            };
            match verdict {
                Ok(()) => {}
                Err(ResponseError::TooDeep) => return Err(ResponseError::TooDeep),
                Err(ResponseError::Malformed | ResponseError::Unprintable { .. }) => {
                    self.fall_back(mark);
                    self.out.extend_from_slice(b",\"value\":");
                    put_base64(self.out, value);
                }
            }
        }
        self.leave(b'}');
        Ok(())
    }
}

/// Seconds and nanoseconds of a Timestamp or Duration.
pub(super) fn seconds(bytes: &[u8]) -> Result<(i64, i64), ResponseError> {
    let mut found = (0, 0);
    for_each(bytes, |number, wire_type, reader| {
        match (number, wire_type) {
            (1, wire::VARINT) => found.0 = reader.varint()? as i64,
            (2, wire::VARINT) => found.1 = i64::from(reader.varint()? as i32),
            _ => reader.skip(number, wire_type)?,
        }
        Ok(())
    })?;
    Ok(found)
}

/// Visits each field; the visitor moves the reader past its value.
fn for_each<'m>(
    bytes: &'m [u8],
    mut visit: impl FnMut(u32, u8, &mut Reader<'m>) -> Result<(), ResponseError>,
) -> Result<(), ResponseError> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (number, wire_type) = reader.tag()?;
        visit(number, wire_type, &mut reader)?;
    }
    Ok(())
}

fn printable(printed: bool, type_name: &'static str) -> Result<(), ResponseError> {
    if printed { Ok(()) } else { Err(ResponseError::Unprintable { type_name }) }
}
