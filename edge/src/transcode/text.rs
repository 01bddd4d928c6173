//! Scalars as text: what JSON strings and numbers, query values and path variables have in common. Each function takes exactly
//! the forms that proto3 JSON gives its type. Nothing here knows fields.

/// Base64, standard or URL-safe, padded or not; appends the bytes. What is appended before an error is the caller's to drop.
pub(super) fn append_base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    let unpadded = match text {
        [head @ .., b'=', b'='] if head.len() % 4 == 2 => head,
        [head @ .., b'='] if head.len() % 4 == 3 => head,
        _ => text,
    };
    if unpadded.len() % 4 == 1 {
        return false;
    }
    out.reserve(unpadded.len() / 4 * 3 + 2);
    for chunk in unpadded.chunks(4) {
        let mut bits = 0u32;
        for byte in chunk {
            let Some(six) = sextet(*byte) else { return false };
            bits = bits << 6 | u32::from(six);
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    true
}

const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// A decimal integer and nothing else: `-?[0-9]+`. Wide enough for every integer type.
pub(super) fn decimal(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    // More digits than the widest type has, leading zeros apart, cannot fit.
    if digits.is_empty() || digits.len() > 38 {
        return None;
    }
    let mut value = 0i128;
    for byte in digits.bytes() {
        value = value * 10 + i128::from(byte.wrapping_sub(b'0'));
        if !byte.is_ascii_digit() {
            return None;
        }
    }
    Some(if negative { -value } else { value })
}

/// A JSON number whose value is an integer, `1.0` and `1e3` included.
pub(super) fn integer(text: &str) -> Option<i128> {
    if let Some(value) = decimal(text) {
        return Some(value);
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let value = decimal(digits.as_str()).or_else(|| (digits.len() > 38).then_some(0))?;
    if value == 0 {
        return (digits.len() <= 38).then_some(0);
    }
    let power = 10i128.checked_pow(shift.unsigned_abs().min(40))?;
    if shift >= 0 {
        return value.checked_mul(power);
    }
    (value % power == 0).then_some(value / power)
}

/// A floating-point number or one of the three names JSON has no numbers for.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if super::json::number_length(text.as_bytes()) == Some(text.len()) => {
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
        _ => None,
    }
}

/// As [`double`], in single precision: rounded once, from the text.
pub(super) fn float(text: &str) -> Option<f32> {
    match text {
        "NaN" => Some(f32::NAN),
        "Infinity" => Some(f32::INFINITY),
        "-Infinity" => Some(f32::NEG_INFINITY),
        _ if super::json::number_length(text.as_bytes()) == Some(text.len()) => {
            text.parse().ok().filter(|value: &f32| value.is_finite())
        }
        _ => None,
    }
}

/// A path of a FieldMask from its JSON form to proto names: `fooBar.baz` to `foo_bar.baz`. Appends it.
pub(super) fn append_snake_case(path: &str, out: &mut Vec<u8>) -> bool {
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' => out.extend_from_slice(&[b'_', byte.to_ascii_lowercase()]),
            b'a'..=b'z' | b'0'..=b'9' | b'.' => out.push(byte),
            _ => return false,
        }
    }
    !path.is_empty()
}

/// The way back; false where it would not come back to the same path.
pub(super) fn append_camel_case(path: &str, out: &mut Vec<u8>) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => match bytes.next() {
                Some(letter @ b'a'..=b'z') => out.push(letter.to_ascii_uppercase()),
                _ => return false,
            },
            b'a'..=b'z' | b'0'..=b'9' | b'.' => out.push(byte),
            _ => return false,
        }
    }
    !path.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_taken_in_every_alphabet() {
        for (text, expect) in [
            ("", Some(&b""[..])),
            ("AA==", Some(b"\0")),
            ("AA", Some(b"\0")),
            ("AAE=", Some(b"\0\x01")),
            ("AAEC", Some(b"\0\x01\x02")),
            ("-_+/", Some(b"\xfb\xff\xbf")),
            ("A", None),
            ("A===", None),
            ("AA=", None),
            ("AAEC=", None),
            ("A A=", None),
        ] {
            let mut out = Vec::new();
            let valid = append_base64(text.as_bytes(), &mut out);
            assert_eq!(valid.then_some(out.as_slice()), expect, "{text}");
        }
    }

    #[test]
    fn integers_may_be_written_as_numbers_of_any_form() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("1.5e1", Some(15)),
            ("-120e-1", Some(-12)),
            ("0.0e99", Some(0)),
            ("1.5", None),
            ("1e-1", None),
            ("1e400", None),
        ] {
            assert_eq!(integer(text), expect, "{text}");
        }
    }
}
