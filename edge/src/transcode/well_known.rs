//! JSON to wire bytes for the types whose JSON is not an object of their fields: Timestamp, Duration, FieldMask, wrappers,
//! Struct, Value, ListValue and Any. Part of the one pass of `encode`.

use super::encode::{Encoder, Step};
use super::json::{Malformed, Text};
use super::scalar::{self, Source};
use super::types::{Form, Kind, MessageId};
use super::{text, wire};

/// Field numbers of `google.protobuf.Value`, `Struct`, `ListValue` and `Any`.
pub(super) mod number {
    pub const NULL: u32 = 1;
    pub const NUMBER: u32 = 2;
    pub const STRING: u32 = 3;
    pub const BOOL: u32 = 4;
    pub const STRUCT: u32 = 5;
    pub const LIST: u32 = 6;
    pub const ENTRIES: u32 = 1;
    pub const ELEMENTS: u32 = 1;
    pub const TYPE_URL: u32 = 1;
    pub const ANY_VALUE: u32 = 2;
}

impl<'a> Encoder<'a> {
    /// Reads a value as a well-known message and appends its contents.
    pub(super) fn well_known(&mut self, id: MessageId, form: Form) -> Result<(), Malformed> {
        match form {
            Form::Object => self.object(id, None),
            Form::Timestamp | Form::Duration | Form::FieldMask => self.string_form(id, form),
            Form::Wrapper => self.wrapper(id),
            Form::Struct => self.structure(),
            Form::Value => self.value(),
            Form::ListValue => self.list_value(),
            Form::Any => self.any(),
        }
    }

    fn string_form(&mut self, id: MessageId, form: Form) -> Result<(), Malformed> {
        if self.reader.peek() != b'"' {
            return self.mismatch(scalar::expected(form));
        }
        let value = self.reader.string()?;
        let value = value.as_str(&mut self.scratch);
        let verdict =
            scalar::put_well_known(self.types, self.habits, id, Source::JsonString, value, self.out);
        if let Err(description) = verdict {
            self.violate(description);
        }
        Ok(())
    }

    fn wrapper(&mut self, id: MessageId) -> Result<(), Malformed> {
        let field = self.types.message(id).field(0);
        let start = self.out.len();
        wire::put_tag(self.out, field.number, field.kind.wire_type());
        let at = self.out.len();
        self.scalar(field.kind)?;
        if scalar::is_default(&self.out[at..]) {
            self.out.truncate(start);
        }
        Ok(())
    }

    fn structure(&mut self) -> Result<(), Malformed> {
        self.entries(number::ENTRIES, |encoder, key| {
            wire::put_tag(encoder.out, 1, wire::LEN);
            let length = wire::begin(encoder.out);
            key.append_to(encoder.out);
            wire::end(encoder.out, length);
            let end = encoder.out.len();
            wire::put_tag(encoder.out, 2, wire::LEN);
            let length = encoder.open()?;
            encoder.value()?;
            encoder.close(length);
            Ok(end)
        })
    }

    fn list_value(&mut self) -> Result<(), Malformed> {
        if self.reader.peek() != b'[' {
            return self.mismatch(scalar::expected(Form::ListValue));
        }
        self.reader.enter()?;
        let (mut first, mut index) = (true, 0);
        while self.reader.element(&mut first)? {
            self.steps.push(Step::Element(index));
            wire::put_tag(self.out, number::ELEMENTS, wire::LEN);
            let length = self.open()?;
            self.value()?;
            self.close(length);
            self.steps.pop();
            index += 1;
        }
        Ok(())
    }

    /// Any JSON value, as a `google.protobuf.Value`.
    fn value(&mut self) -> Result<(), Malformed> {
        match self.reader.peek() {
            b'{' => {
                wire::put_tag(self.out, number::STRUCT, wire::LEN);
                let length = self.open()?;
                self.structure()?;
                self.close(length);
            }
            b'[' => {
                wire::put_tag(self.out, number::LIST, wire::LEN);
                let length = self.open()?;
                self.list_value()?;
                self.close(length);
            }
            b'"' => {
                wire::put_tag(self.out, number::STRING, wire::LEN);
                self.scalar(Kind::String)?;
            }
            b'-' | b'0'..=b'9' => {
                let value = text::double(self.reader.number()?);
                wire::put_tag(self.out, number::NUMBER, wire::FIXED64);
                match value {
                    Some(value) => self.out.extend_from_slice(&value.to_le_bytes()),
                    None => self.violate("must be a number in double precision"),
                }
            }
            0 => self.reader.skip()?,
            _ => match self.reader.word()? {
                "null" => {
                    wire::put_tag(self.out, number::NULL, wire::VARINT);
                    self.out.push(0);
                }
                word => {
                    wire::put_tag(self.out, number::BOOL, wire::VARINT);
                    self.out.push(u8::from(word == "true"));
                }
            },
        }
        Ok(())
    }

    /// `{"@type": url, ...}`. The type may stand anywhere in the object, so it is looked for before the object is read.
    fn any(&mut self) -> Result<(), Malformed> {
        if self.reader.peek() != b'{' {
            return self.mismatch(scalar::expected(Form::Any));
        }
        let type_url = match self.type_url()? {
            (Some(url), 1) => url.as_str(&mut self.scratch).to_owned(),
            (None, _) if self.reader.is_empty_object() => return self.reader.skip(),
            _ => return self.mismatch("must have one @type"),
        };
        let name = type_url.rsplit_once('/').map(|(_, name)| name);
        let Some(id) = name.and_then(|name| self.types.find(name)) else {
            return self.mismatch("has an @type that is not known");
        };
        wire::put_bytes(self.out, number::TYPE_URL, type_url.as_bytes());
        wire::put_tag(self.out, number::ANY_VALUE, wire::LEN);
        let length = wire::begin(self.out);
        // What the object names are not fields of the request message: neither a path nor a mask reaches them.
        self.inside_lists += 1;
        if self.types.message(id).form == Form::Object {
            self.object(id, Some("@type"))?;
        } else {
            self.any_value(id)?;
        }
        self.inside_lists -= 1;
        wire::end(self.out, length);
        Ok(())
    }

    /// The first `@type` of the object at hand, and how many there are. The outermost Any is walked through once for those of all objects in it: walking
    /// through each Any again would cost its size times its depth.
    fn type_url(&mut self) -> Result<(Option<Text<'a>>, usize), Malformed> {
        let start = self.reader.offset();
        if start >= self.typed_to {
            self.typed.clear();
            let (typed, scratch) = (&mut self.typed, &mut self.scratch);
            let mut object = self.reader;
            object.walk(&mut |object, key, mut value| {
                if key.as_str(scratch) == "@type"
                    && value.peek() == b'"'
                    && let Ok(url) = value.string()
                {
                    typed.push((object, url));
                }
            })?;
            // An object's own may come behind those of the objects in it.
            typed.sort_by_key(|(object, _)| *object);
            self.typed_to = object.offset();
        }
        let first = self.typed.partition_point(|(object, _)| *object < start);
        let mut own = self.typed[first..].iter().take_while(|(object, _)| *object == start);
        let url = own.next().map(|(_, url)| *url);
        Ok((url, own.count() + usize::from(url.is_some())))
    }

    /// `{"@type": url, "value": ...}` of a type whose JSON is not an object of its fields.
    fn any_value(&mut self, id: MessageId) -> Result<(), Malformed> {
        let (mut first, mut values) = (true, 0);
        self.reader.enter()?;
        while let Some(key) = self.reader.key(&mut first)? {
            match key.as_str(&mut self.scratch) {
                "value" => {
                    values += 1;
                    self.message(id)?;
                }
                "@type" => self.reader.skip()?,
                _ => self.mismatch("has members beside @type and value")?,
            }
        }
        if values != 1 {
            self.violate("must have one value");
        }
        Ok(())
    }
}
