//! What a client will take: the media ranges of `Accept` with their weights (RFC 9110 section 12.5.1), and the choice among what
//! can be offered. Pure; which forms an answer has is decided by its writers.
//!
//! A range that cannot be read is left out, and a header without a readable one is no header: it forbids nothing, and clients
//! that have sent such lists for decades (`*; q=.2`) mean no harm by it. Parameters other than the weight are not looked at,
//! because no offer comes in several of them.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::transcode::ErrorShape;

/// The most a range can weigh, in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// The offer that the client likes best; `None` if it takes none of them. The greater weight wins, of equal ones the range that
/// says more, then the one that is written first, then the earlier offer.
#[must_use]
pub fn choose<T: Copy, const N: usize>(headers: &HeaderMap, offers: &[(&str, T); N]) -> Option<T> {
    let mut ranges = headers.get_all(ACCEPT).iter().flat_map(|value| ranges(value.as_bytes())).peekable();
    if ranges.peek().is_none() {
        return offers.first().map(|(_, offer)| *offer);
    }
    // What applies to an offer is the most specific range alone: a text/html;q=0 is not softened by a */*.
    let mut applying: [Option<Applying>; N] = [None; N];
    for (place, range) in ranges.enumerate() {
        for ((media, _), applies) in offers.iter().zip(&mut applying) {
            let Some(specificity) = range.covers(media) else { continue };
            if applies.is_none_or(|other| other.specificity < specificity) {
                *applies = Some(Applying { weight: range.weight, specificity, place });
            }
        }
    }
    let mut best: Option<(Applying, T)> = None;
    for (applies, (_, offer)) in applying.into_iter().zip(offers) {
        let Some(applies) = applies.filter(|applies| applies.weight > 0) else { continue };
        if best.is_none_or(|(other, _)| applies.beats(other)) {
            best = Some((applies, *offer));
        }
    }
    best.map(|(_, offer)| offer)
}

/// The shape in which a client hears of failures. Whatever it takes, they are told: in the usual one if there is no other.
#[must_use]
pub fn error_shape(headers: &HeaderMap) -> ErrorShape {
    const OFFERS: [(&str, ErrorShape); 2] = [
        (ErrorShape::Plain.content_type(), ErrorShape::Plain),
        (ErrorShape::Problem.content_type(), ErrorShape::Problem),
    ];
    choose(headers, &OFFERS).unwrap_or(ErrorShape::Plain)
}

/// A range and its weight.
#[derive(Clone, Copy, Debug)]
struct Range<'h> {
    main: &'h [u8],
    sub: &'h [u8],
    weight: u16,
}

/// What a range says of an offer.
#[derive(Clone, Copy, Debug)]
struct Applying {
    weight: u16,
    specificity: u8,
    place: usize,
}

impl Applying {
    fn beats(self, other: Self) -> bool {
        let rank = |this: Self| (this.weight, this.specificity, std::cmp::Reverse(this.place));
        rank(self) > rank(other)
    }
}

impl Range<'_> {
    /// How much the range says about a media type, if it covers it.
    fn covers(&self, media: &str) -> Option<u8> {
        let (main, sub) = media.split_once('/')?;
        match (self.main, self.sub) {
            (b"*", b"*") => Some(0),
            (own, b"*") if own.eq_ignore_ascii_case(main.as_bytes()) => Some(1),
            (own, part) if own.eq_ignore_ascii_case(main.as_bytes()) => {
                part.eq_ignore_ascii_case(sub.as_bytes()).then_some(2)
            }
            _ => None,
        }
    }
}

/// The readable ranges of one header line.
fn ranges(line: &[u8]) -> impl Iterator<Item = Range<'_>> {
    cut(line, b',').filter_map(|element| {
        let mut parts = cut(element, b';').map(<[u8]>::trim_ascii);
        let (main, sub) = match parts.next()? {
            // As some clients spell `*/*`.
            b"*" => (&b"*"[..], &b"*"[..]),
            essence => {
                let slash = essence.iter().position(|byte| *byte == b'/')?;
                (&essence[..slash], &essence[slash + 1..])
            }
        };
        let is_token = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| is_token(*byte));
        if !is_token(main) || !is_token(sub) || (main == b"*" && sub != b"*") {
            return None;
        }
        Some(Range { main, sub, weight: parts.find_map(weight).unwrap_or(WEIGHT_MAX) })
    })
}

/// Cuts at a separator that stands outside quotes.
fn cut(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    text.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == separator && !quoted
    })
}

/// The weight that a parameter gives, if it is the one that gives one. What is no weight gives none.
fn weight(parameter: &[u8]) -> Option<u16> {
    let value = std::str::from_utf8(parameter).ok()?.strip_prefix(['q', 'Q'])?.trim_start();
    let value = value.strip_prefix('=')?.trim_start();
    let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let weight = value.parse::<f32>().ok().filter(|_| is_decimal)?;
    Some((weight.min(1.0) * f32::from(WEIGHT_MAX)).round() as u16)
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const JSON: &str = "application/json";
    const LINES: &str = "application/x-ndjson";
    const EVENTS: &str = "text/event-stream";

    fn chosen(lines: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        choose(&headers, &[(JSON, JSON), (LINES, LINES), (EVENTS, EVENTS)])
    }

    #[test]
    fn the_client_weighs_then_says_more_then_says_it_first() {
        let check = |accept: &str, expect: &str| assert_eq!(chosen(&[accept]), Some(expect), "{accept}");
        check("*/*", JSON);
        check("application/*", JSON);
        check("text/*", EVENTS);
        check("application/json", JSON);
        check("Application/X-NDJSON", LINES);
        check("application/json, text/event-stream", JSON);
        check("text/event-stream, application/json", EVENTS);
        check("text/html, text/event-stream;q=0.9", EVENTS);
        check("application/json;q=0.8, application/x-ndjson;q=0.9", LINES);
        check("*/*, application/x-ndjson", LINES);
        check("*/*, text/event-stream;q=0.5", JSON);
        check("application/json;q=0, */*;q=0.1", LINES);
        check("application/*;q=0, */*", EVENTS);
        check("application/json; charset=utf-8", JSON);
        check("application/x-ndjson;x=\"a,b;q=0\" ; Q = 0.7, application/json;q=0.6", LINES);
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON);
        // What old clients of one well-known language send.
        check("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON);
    }

    #[test]
    fn what_the_client_does_not_take_is_not_chosen() {
        for accept in [
            "text/html",
            "application/xml, image/*",
            "*/*;q=0",
            "application/json;q=0.0",
            "application/jsonp",
        ] {
            assert_eq!(chosen(&[accept]), None, "{accept}");
        }
        assert_eq!(chosen(&["application/json;q=0", "text/html"]), None);
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(chosen(&["text/html", "application/x-ndjson"]), Some(LINES));
        assert_eq!(chosen(&["application/json;q=0.1", "text/event-stream"]), Some(EVENTS));
    }

    #[test]
    fn a_header_that_says_nothing_forbids_nothing() {
        for lines in [&[][..], &[""], &[" , "], &["json"], &["/"], &["*/json"], &["a b/c"], &["\u{e9}/x"]] {
            assert_eq!(chosen(lines), Some(JSON), "{lines:?}");
        }
        // A weight that is none is left out, not the range.
        assert_eq!(chosen(&["text/event-stream;q=soon"]), Some(EVENTS));
        assert_eq!(chosen(&["text/event-stream;q=NaN, application/json;q=7"]), Some(EVENTS));
    }

    #[test]
    fn failures_are_told_as_problems_to_those_who_prefer_them() {
        let check = |accept: &'static str, expect: ErrorShape| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(error_shape(&headers), expect, "{accept}");
        };
        check("application/problem+json", ErrorShape::Problem);
        check("application/problem+json, application/json", ErrorShape::Problem);
        check("application/json, application/problem+json", ErrorShape::Plain);
        check("application/json;q=0.9, application/problem+json", ErrorShape::Problem);
        check("application/problem+json;q=0.9, */*", ErrorShape::Plain);
        check("application/problem+json, */*", ErrorShape::Problem);
        check("text/event-stream", ErrorShape::Plain);
        check("*/*", ErrorShape::Plain);
        assert_eq!(error_shape(&HeaderMap::new()), ErrorShape::Plain);
    }
}
