//! How long a caller says it will wait: `grpc-timeout`, and over REST also `x-server-timeout`; the shorter counts. A malformed
//! wish is refused, not ignored: the caller would wait for less than it believes.

use std::time::Duration;

use chassis::deadline;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{GRPC_TIMEOUT, Refusal, SERVER_TIMEOUT, Wire, single};

/// What the caller asked for, if anything.
pub fn asked(headers: &HeaderMap, wire: Wire) -> Result<Option<Duration>, Refusal> {
    let grpc = read(headers, &GRPC_TIMEOUT, "grpc-timeout", deadline::parse)?;
    let rest = match wire {
        Wire::Grpc | Wire::GrpcWeb(_) => None,
        Wire::Rest => read(headers, &SERVER_TIMEOUT, "x-server-timeout", seconds)?,
    };
    Ok([grpc, rest].into_iter().flatten().min())
}

fn read(
    headers: &HeaderMap,
    name: &HeaderName,
    header: &'static str,
    parse: impl Fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, Refusal> {
    let malformed = Refusal::Malformed { header };
    let Some(value) = single(headers, name).map_err(|_| malformed)? else { return Ok(None) };
    value.to_str().ok().and_then(parse).map(Some).ok_or(malformed)
}

/// `grpc-timeout` for the upstream.
pub fn header(left: Duration) -> HeaderValue {
    // Digits and a letter are always a header value; the fallback is never read.
    HeaderValue::try_from(deadline::format(left)).unwrap_or(HeaderValue::from_static("0n"))
}

/// Seconds with up to nine decimals: "30", "0.25". No sign, no exponent, no bare point.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) =
        text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let seconds = number(whole, 8)?;
    let Some(fraction) = fraction else { return Some(Duration::from_secs(seconds)) };
    // Scaled to nine digits it stays below a second.
    let nanos = (fraction.len()..9).fold(number(fraction, 9)?, |value, _| value * 10);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// One to `digits_max` digits. Nine at most, by the callers: no overflow.
fn number(digits: &str, digits_max: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > digits_max {
        return None;
    }
    digits
        .bytes()
        .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rest_timeouts() {
        let check = |text: &str, expect: Option<Duration>| assert_eq!(seconds(text), expect, "{text:?}");
        check("30", Some(Duration::from_secs(30)));
        check("0", Some(Duration::ZERO));
        check("0.25", Some(Duration::from_millis(250)));
        check("1.000000001", Some(Duration::new(1, 1)));
        check("99999999.999999999", Some(Duration::new(99_999_999, 999_999_999)));
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1e3",
            "-1",
            "+1",
            "1.0000000001",
            "999999999",
            "1,5",
            "NaN",
            "1.2.3",
            " 1",
            "１",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,20}") {
            let _ = seconds(&text);
        }

        #[test]
        fn a_decimal_fraction_is_read_exactly(whole in 0_u64..100_000_000, nanos in 0_u32..1_000_000_000) {
            prop_assert_eq!(seconds(&format!("{whole}.{nanos:09}")), Some(Duration::new(whole, nanos)));
        }

        #[test]
        fn a_budget_does_not_grow_on_its_way(nanos in 0_u64..) {
            let budget = Duration::from_nanos(nanos);
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, header(budget));
            prop_assert!(asked(&headers, Wire::Grpc).unwrap().unwrap() <= budget);
        }
    }
}
