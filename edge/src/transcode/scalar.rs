//! Scalars and the well-known types that look like scalars, from text to wire bytes. What is written is a value without its
//! tag; whether the text came from a JSON string, a JSON number or a URL is said by `Source`.

use super::types::{Enum, Form, Kind, MessageId, Types};
use super::{json, text, time, wire};

/// Where a text stood. JSON allows numbers to be written in more ways than a URL does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    JsonString,
    JsonNumber,
    Url,
}

/// How texts are read, beyond their grammar.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habits {
    pub(super) case_insensitive_enums: bool,
}

/// What a text should have been: the description of a violation.
pub(super) type Expected = &'static str;

/// Appends a value of a scalar kind.
pub(super) fn put(
    types: &Types,
    habits: Habits,
    kind: Kind,
    source: Source,
    value: &str,
    out: &mut Vec<u8>,
) -> Result<(), Expected> {
    match kind {
        Kind::Double => {
            let value = text::double(value).ok_or("must be a number")?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Float => {
            let value = text::float(value).ok_or("must be a number in single precision")?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Bool => match value {
            _ if source != Source::Url => return Err("must be true or false"),
            "true" => out.push(1),
            "false" => out.push(0),
            _ => return Err("must be true or false"),
        },
        Kind::String if source != Source::JsonNumber => put_len(value.as_bytes(), out),
        Kind::Bytes if source != Source::JsonNumber => {
            let start = wire::begin(out);
            if !text::append_base64(value.as_bytes(), out) {
                return Err("must be base64");
            }
            wire::end(out, start);
        }
        Kind::String => return Err("must be a string"),
        Kind::Bytes => return Err("must be a base64 string"),
        Kind::Enum(id) => {
            let number = enum_number(types.enumeration(id), habits, source, value)?;
            wire::put_varint(out, i64::from(number) as u64);
        }
        Kind::Message(_) => return Err("must be an object"),
        Kind::Int32 => wire::put_varint(out, i64::from(integer::<i32>(source, value)?) as u64),
        Kind::Int64 => wire::put_varint(out, integer::<i64>(source, value)? as u64),
        Kind::Uint32 => wire::put_varint(out, u64::from(integer::<u32>(source, value)?)),
        Kind::Uint64 => wire::put_varint(out, integer::<u64>(source, value)?),
        // In 32 bits zigzag gives the same varint as in 64.
        Kind::Sint32 => wire::put_varint(out, wire::zigzag(i64::from(integer::<i32>(source, value)?))),
        Kind::Sint64 => wire::put_varint(out, wire::zigzag(integer::<i64>(source, value)?)),
        Kind::Fixed32 => out.extend_from_slice(&integer::<u32>(source, value)?.to_le_bytes()),
        Kind::Fixed64 => out.extend_from_slice(&integer::<u64>(source, value)?.to_le_bytes()),
        Kind::Sfixed32 => out.extend_from_slice(&integer::<i32>(source, value)?.to_le_bytes()),
        Kind::Sfixed64 => out.extend_from_slice(&integer::<i64>(source, value)?.to_le_bytes()),
    }
    Ok(())
}

fn integer<T: TryFrom<i128>>(source: Source, value: &str) -> Result<T, Expected> {
    let parsed = match source {
        Source::Url => text::decimal(value),
        Source::JsonNumber => text::integer(value),
        Source::JsonString if json::number_length(value.as_bytes()) == Some(value.len()) => {
            text::integer(value)
        }
        Source::JsonString => None,
    };
    let value = parsed.ok_or("must be an integer")?;
    T::try_from(value).map_err(|_| "must be an integer within the range of its type")
}

fn enum_number(plan: &Enum, habits: Habits, source: Source, value: &str) -> Result<i32, Expected> {
    let number = |parsed: Option<i128>| parsed.and_then(|number| i32::try_from(number).ok());
    let found = match source {
        Source::JsonNumber => number(text::integer(value)),
        Source::JsonString => plan.number(value, habits.case_insensitive_enums),
        Source::Url => {
            plan.number(value, habits.case_insensitive_enums).or_else(|| number(text::decimal(value)))
        }
    };
    let number = found.ok_or("must be the name or number of an enum value")?;
    if plan.is_null_value && number != 0 {
        // Enums are open, this one is not: whatever its number, it would come back as null.
        return Err("must be null");
    }
    Ok(number)
}

/// Appends the contents of a well-known message whose JSON form is a string or a scalar; `Err` too for those that have none.
pub(super) fn put_well_known(
    types: &Types,
    habits: Habits,
    id: MessageId,
    source: Source,
    value: &str,
    out: &mut Vec<u8>,
) -> Result<(), Expected> {
    let plan = types.message(id);
    if plan.form != Form::Wrapper && source == Source::JsonNumber {
        return Err(expected(plan.form));
    }
    match plan.form {
        Form::Timestamp => put_seconds(time::parse_timestamp(value).ok_or(expected(plan.form))?, out),
        Form::Duration => put_seconds(time::parse_duration(value).ok_or(expected(plan.form))?, out),
        Form::FieldMask => {
            for path in value.split(',').filter(|_| !value.is_empty()) {
                wire::put_tag(out, 1, wire::LEN);
                let start = wire::begin(out);
                if !text::append_snake_case(path, out) {
                    return Err(expected(plan.form));
                }
                wire::end(out, start);
            }
        }
        Form::Wrapper => {
            let field = plan.field(0);
            let start = out.len();
            wire::put_tag(out, field.number, field.kind.wire_type());
            let at = out.len();
            put(types, habits, field.kind, source, value, out)?;
            if is_default(&out[at..]) {
                out.truncate(start);
            }
        }
        Form::Object | Form::Struct | Form::Value | Form::ListValue | Form::Any => {
            return Err(expected(plan.form));
        }
    }
    Ok(())
}

/// What a message of a form should have been.
pub(super) const fn expected(form: Form) -> Expected {
    match form {
        Form::Object | Form::Struct | Form::Any => "must be an object",
        Form::Timestamp => "must be an RFC 3339 timestamp between the years 1 and 9999",
        Form::Duration => "must be seconds with up to nine decimals and an s",
        Form::FieldMask => "must be field paths in lowerCamelCase, separated by commas",
        Form::Value => "must be a JSON value",
        Form::ListValue => "must be an array",
        Form::Wrapper => "must be a scalar",
    }
}

/// Whether the bytes of a scalar, without its tag, are those of its default.
pub(super) fn is_default(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == 0)
}

fn put_len(bytes: &[u8], out: &mut Vec<u8>) {
    wire::put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_seconds((seconds, nanos): (i64, i32), out: &mut Vec<u8>) {
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if value != 0 {
            wire::put_tag(out, number, wire::VARINT);
            wire::put_varint(out, value as u64);
        }
    }
}
