//! The last frame of an answer: the trailers as a block of HTTP/1 header lines, behind a prefix with the topmost bit set.

use http::HeaderMap;

use crate::transcode::frame;

/// The flag of a frame of trailers. Its lowest bit would say that they are compressed; they never are.
const TRAILERS: u8 = 0x80;

/// Appends the frame. Names are in lower case already; values cannot hold a line's end.
pub fn put(trailers: &HeaderMap, out: &mut Vec<u8>) {
    let start = frame::begin(out);
    out[start] = TRAILERS;
    for (name, value) in trailers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    frame::end(out, start);
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn trailers_are_lines_behind_a_marked_prefix() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        trailers.insert("grpc-message", HeaderValue::from_static("no%20such"));
        trailers.append(HeaderName::from_static("x"), HeaderValue::from_static("1"));
        trailers.append(HeaderName::from_static("x"), HeaderValue::from_static("2"));
        let mut out = b"before".to_vec();
        put(&trailers, &mut out);
        let text = "grpc-status: 5\r\ngrpc-message: no%20such\r\nx: 1\r\nx: 2\r\n";
        assert_eq!(
            out,
            [b"before\x80\0\0\0".as_slice(), &[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
        );
    }
}
