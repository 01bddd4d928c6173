//! Timestamp and Duration between their JSON form and seconds and nanoseconds. Only the forms of proto3 JSON: RFC 3339 with
//! upper-case `T` and `Z` or a numeric offset, and decimal seconds with an `s`.

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;
/// Ten thousand years, the bound of `google.protobuf.Duration`.
const DURATION_MAX: i64 = 315_576_000_000;

/// Seconds since 1970 and nanoseconds.
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        bytes
            .get(from..to)?
            .iter()
            .try_fold(0i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|(at, separator)| bytes.get(*at) == Some(separator)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if day < 1 || day > days_in_month(year, month)? || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = match text.get(19..)?.strip_prefix('.') {
        Some(rest) => split_nanos(rest)?,
        None => (0, text.get(19..)?),
    };
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let start = text.len() - 5;
            let (hours, minutes) = (number(start, start + 2)?, number(start + 3, start + 5)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    (SECONDS_MIN..=SECONDS_MAX).contains(&seconds).then_some((seconds, nanos))
}

/// Up to nine digits as nanoseconds, and what follows them.
fn split_nanos(text: &str) -> Option<(i32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let value: i32 = text[..digits].parse().ok()?;
    Some((value * 10i32.pow(9 - u32::try_from(digits).ok()?), &text[digits..]))
}

/// Appends a Timestamp in quotes; false if it is out of range.
pub(super) fn put_timestamp(seconds: i64, nanos: i64, out: &mut Vec<u8>) -> bool {
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return false;
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    // All parts are small from here on: lists are full of timestamps, and narrow divisions cost a fraction of wide ones.
    let rest = seconds.rem_euclid(86_400) as u32;
    let mut text = *b"\"0000-00-00T00:00:00";
    let parts = [
        (1, year as u32 / 100),
        (3, year as u32 % 100),
        (6, month as u32),
        (9, day as u32),
        (12, rest / 3600),
        (15, rest / 60 % 60),
        (18, rest % 60),
    ];
    for (at, value) in parts {
        text[at] = b'0' + (value / 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    }
    out.extend_from_slice(&text);
    put_fraction(nanos, out);
    out.extend_from_slice(b"Z\"");
    true
}

/// Seconds and nanoseconds, of one sign.
pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    if whole.is_empty() || whole.len() > 12 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos = match fraction.map(split_nanos) {
        Some(Some((nanos, ""))) => nanos,
        Some(_) => return None,
        None => 0,
    };
    if seconds > DURATION_MAX || (seconds == DURATION_MAX && nanos > 0) {
        return None;
    }
    Some(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// Appends a Duration in quotes; false if it is out of range or of two signs.
pub(super) fn put_duration(seconds: i64, nanos: i64, out: &mut Vec<u8>) -> bool {
    let in_range = (-DURATION_MAX..=DURATION_MAX).contains(&seconds) && nanos.abs() < 1_000_000_000;
    if !in_range || (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
        return false;
    }
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(seconds.unsigned_abs()).as_bytes());
    put_fraction(nanos.abs(), out);
    out.extend_from_slice(b"s\"");
    true
}

/// Nothing, or three, six or nine digits behind a point.
fn put_fraction(nanos: i64, out: &mut Vec<u8>) {
    let mut rest = nanos as u32;
    let digits = match rest {
        0 => return,
        _ if rest.is_multiple_of(1_000_000) => 3,
        _ if rest.is_multiple_of(1_000) => 6,
        _ => 9,
    };
    let mut text = *b".000000000";
    for digit in text[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[..=digits]);
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"): eras of 400 years, years from March.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + (month <= 2) as i64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_take_rfc_3339_only() {
        for (text, expect) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("0001-01-01T00:00:00Z", Some((SECONDS_MIN, 0))),
            ("9999-12-31T23:59:59.999999999Z", Some((SECONDS_MAX, 999_999_999))),
            ("2024-02-29T12:00:00.5+01:30", Some((1_709_202_600, 500_000_000))),
            ("1969-12-31T23:59:59-00:00", Some((-1, 0))),
            ("2023-02-29T00:00:00Z", None),
            ("2023-01-01T24:00:00Z", None),
            ("2023-01-01T23:59:60Z", None),
            ("2023-01-01 00:00:00Z", None),
            ("2023-01-01t00:00:00z", None),
            ("2023-01-01T00:00:00", None),
            ("2023-01-01T00:00:00.Z", None),
            ("2023-01-01T00:00:00.1234567890Z", None),
            ("0000-12-31T00:00:00Z", None),
            ("9999-12-31T23:59:59-01:00", None),
            ("2023-01-01T00:00:00+1:00", None),
            ("2023-01-01T00:00:00é", None),
        ] {
            assert_eq!(parse_timestamp(text), expect, "{text}");
        }
    }

    #[test]
    fn durations_take_decimal_seconds_only() {
        for (text, expect) in [
            ("0s", Some((0, 0))),
            ("3.000000001s", Some((3, 1))),
            ("-1.5s", Some((-1, -500_000_000))),
            ("-0.5s", Some((0, -500_000_000))),
            ("315576000000s", Some((DURATION_MAX, 0))),
            ("315576000000.1s", None),
            ("315576000001s", None),
            ("1", None),
            ("s", None),
            (".5s", None),
            ("1.s", None),
            ("1h", None),
            ("+1s", None),
            ("13h0m0s", None),
        ] {
            assert_eq!(parse_duration(text), expect, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn times_round_trip(seconds in SECONDS_MIN..=SECONDS_MAX, nanos in 0..1_000_000_000i64) {
            let mut out = Vec::new();
            proptest::prop_assert!(put_timestamp(seconds, nanos, &mut out));
            let text = std::str::from_utf8(&out).unwrap().trim_matches('"');
            proptest::prop_assert_eq!(parse_timestamp(text), Some((seconds, nanos as i32)));
        }
    }
}
