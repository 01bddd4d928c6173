use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const TYPE: &str = "multipart/form-data; boundary=xYz";

/// What a body comes apart into when it arrives in pieces of these sizes, over and over: `name=text`, or `name<type>=bytes`.
fn parts(body: &[u8], sizes: &[usize]) -> Result<Vec<String>, RequestError> {
    let mut multipart = Multipart::new(TYPE)?;
    let mut found = Vec::<Vec<u8>>::new();
    let mut read = |multipart: &mut Multipart| {
        while let Some(event) = multipart.next_event()? {
            match event {
                Event::Text(text) => found.push(format!("{}={}", text.name, text.value).into()),
                Event::File(file) => found.push(format!("{}<{}>=", file.name, file.content_type()).into()),
                Event::Data(bytes) => found.last_mut().unwrap().extend_from_slice(&bytes),
            }
        }
        Ok::<_, RequestError>(())
    };
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = behind;
        multipart.push(Bytes::copy_from_slice(piece));
        read(&mut multipart)?;
    }
    multipart.finish();
    read(&mut multipart)?;
    Ok(found.into_iter().map(|part| String::from_utf8(part).unwrap()).collect())
}

/// A part with these lines of header.
fn part(header: &str, content: &str) -> String {
    format!("--xYz\r\n{}\r\n\r\n{content}\r\n", header.replace('\n', "\r\n"))
}

fn text(name: &str, value: &str) -> String {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), value)
}

const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"";

fn body(parts: &[String]) -> String {
    format!("{}--xYz--\r\n", parts.concat())
}

/// Content that looks like its own end, and nearly is.
const TRAPS: &str = "\r\n--xY\r\n-xYz\r\r\n\r\n--x\n--xYz\r--xYz--";

#[test]
fn a_form_comes_apart_however_it_is_cut() {
    let typed = format!("{FILE}\nContent-Type: image/png");
    let body = body(&[text("a.b", "1"), text("empty", ""), part(&typed, TRAPS), text("m[k]", "grüezi")]);
    let expect = ["a.b=1", "empty=", &format!("file<image/png>={TRAPS}"), "m[k]=grüezi"];
    for size in 1..=body.len() {
        assert_eq!(parts(body.as_bytes(), &[size]).unwrap(), expect, "by {size}");
    }
    for first in 1..body.len() {
        assert_eq!(parts(body.as_bytes(), &[first, usize::MAX]).unwrap(), expect, "cut at {first}");
    }
}

#[test]
fn what_ends_before_its_last_boundary_is_never_whole() {
    let whole = body(&[text("a", "1"), part(FILE, "bytes"), text("b", "2")]);
    // Of the last line all but its end is needed.
    for end in 0..whole.len() - 2 {
        let refused = parts(&whole.as_bytes()[..end], &[7]).unwrap_err();
        assert!(
            matches!(refused, RequestError::MalformedMultipart { reason: "it ends too early", .. }),
            "{end}: {refused:?}"
        );
    }
    assert!(parts(&whole.as_bytes()[..whole.len() - 2], &[7]).is_ok());
}

#[test]
fn a_part_is_a_text_or_a_file_by_its_header() {
    let check = |header: &str, expect: &[&str]| {
        assert_eq!(parts(body(&[part(header, "x")]).as_bytes(), &[10]).unwrap(), expect, "{header}");
    };
    check("Content-Disposition: form-data; name=a", &["a=x"]);
    check("content-disposition:FORM-DATA;NAME=\"a;b\"", &["a;b=x"]);
    check(r#"Content-Disposition: form-data; name="a\"b\c""#, &[r#"a"b\c=x"#]);
    check("Content-Disposition: form-data; name=\"a\"\nContent-Type: text/plain; charset=UTF-8", &["a=x"]);
    check("Content-Disposition: form-data; name=\"a\"\nContent-Transfer-Encoding: 8bit", &["a=x"]);
    check(
        "Content-Disposition: form-data; name=\"a\"\nContent-Type: application/json",
        &["a<application/json>=x"],
    );
    check("Content-Disposition: form-data; name=\"a\"; filename=\"b\"", &["a<application/octet-stream>=x"]);
    check(
        "Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''b",
        &["a<application/octet-stream>=x"],
    );
    check(
        "Content-Disposition: form-data; name=\"a\"; filename=\"b\"\nContent-Type: text/plain",
        &["a<text/plain>=x"],
    );
    // Who names the file does not name the field.
    check(
        "Content-Disposition: form-data; filename=\"x; name=account_id; y\"; name=\"a\"",
        &["a<application/octet-stream>=x"],
    );
    // A file without a name is one if it has bytes; else nobody chose one.
    let nameless = "Content-Disposition: form-data; name=\"a\"; filename=\"\"\nContent-Type: image/png";
    check(nameless, &["a<image/png>=x"]);
    assert!(parts(body(&[part(nameless, "")]).as_bytes(), &[10]).unwrap().is_empty());
    assert!(parts(b"--xYz--", &[3]).unwrap().is_empty(), "a form without fields");
}

#[test]
fn what_is_no_form_is_refused_with_its_place() {
    let check = |body: &str, part: usize, reason: &str| {
        let RequestError::MalformedMultipart { part: at, reason: told } =
            parts(body.as_bytes(), &[9]).unwrap_err()
        else {
            panic!("{body}")
        };
        assert_eq!((at, told), (part, reason), "{body}");
    };
    let nameless = "no Content-Disposition with its name";
    check("", 1, "it ends too early");
    check("no boundary at all", 1, "it ends too early");
    check(&body(&[part("X: y", "x")]), 1, nameless);
    check(&body(&[text("a", "1"), part("Content-Disposition: form-data", "x")]), 2, nameless);
    check(&body(&[part("Content-Disposition: form-data; name=\"\"", "x")]), 1, nameless);
    check(&body(&[part("Content-Disposition: form-data; name=a; name=b", "x")]), 1, nameless);
    check(&body(&[part("Content-Disposition: form-data; name=\"a", "x")]), 1, nameless);
    check(&body(&[part("Content-Disposition: attachment; name=\"a\"", "x")]), 1, nameless);
    check(&body(&[part("no header", "x")]), 1, "its header is malformed");
    check(
        &body(&[part(
            "Content-Disposition: form-data; name=\"a\"\nContent-Transfer-Encoding: base64",
            "eA==",
        )]),
        1,
        "its transfer encoding is not supported",
    );
    check("--xYzzy\r\n\r\n", 1, "a boundary is not alone on its line");
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=\"\"",
        &format!("multipart/form-data; boundary={}", "x".repeat(71)),
        "multipart/mixed; boundary=x",
    ] {
        assert!(Multipart::new(content_type).is_err(), "{content_type}");
    }
    let latin = part("Content-Disposition: form-data; name=\"a\"", "\u{1}").replace('\u{1}', "\u{e9}");
    let latin: Vec<u8> = body(&[latin]).chars().map(|c| c as u8).collect();
    let RequestError::Invalid { violations } = parts(&latin, &[9]).unwrap_err() else { panic!() };
    assert_eq!((violations[0].field.as_str(), violations[0].description.as_str()), ("a", "must be UTF-8"));
}

#[test]
fn nothing_of_a_form_is_without_a_bound() {
    let check = |body: String, sizes: &[usize], reason: &str| {
        let refused = parts(body.as_bytes(), sizes).unwrap_err();
        assert!(format!("{refused:?}").contains(reason), "{refused:?}");
    };
    for sizes in [[100], [usize::MAX]] {
        let long = "x".repeat(HEAD_BYTES_MAX * 3);
        let header = format!("Content-Disposition: form-data; name=\"a\"\nX: {long}");
        check(body(&[part(&header, "x")]), &sizes, "its header is too large");
        check(body(&[text("a", "1"), part(&header, "x")]), &sizes, "its header is too large");
        check(format!("{long}{}", body(&[text("a", "1")])), &sizes, "its header is too large");
        check(body(&vec![text("a", "1"); PARTS_MAX + 1]), &sizes, "too many parts");
        check(body(&[text("a", &"x".repeat(TEXT_BYTES_MAX + 1))]), &sizes, "longer than the text");
        assert!(parts(body(&[text("a", &"x".repeat(TEXT_BYTES_MAX))]).as_bytes(), &sizes).is_ok());
        assert!(parts(body(&[part(FILE, &"x".repeat(1 << 20))]).as_bytes(), &sizes).is_ok());
    }
    let behind = format!("{}{}", body(&[text("a", "1")]), "x".repeat(HEAD_BYTES_MAX * 3));
    check(behind, &[100], "data behind the last part");
    assert!(parts(format!("before\r\n{}after", body(&[text("a", "1")])).as_bytes(), &[5]).is_ok());
}

proptest! {
    #[test]
    fn pieces_do_not_matter(body in "(--xYz|\r\n|\r|--|[a-z:;= ]|Content-Disposition: form-data; name=a){0,40}", sizes in prop::collection::vec(1_usize..20, 1..6)) {
        let whole = parts(body.as_bytes(), &[usize::MAX]).ok();
        prop_assert_eq!(parts(body.as_bytes(), &sizes).ok(), whole);
    }

    #[test]
    fn whatever_a_file_holds_comes_out(content in "(\r\n|--|xYz|\r|[a-z]){0,30}", sizes in prop::collection::vec(1_usize..9, 1..6)) {
        prop_assume!(!format!("\r\n{content}\r\n").contains("\r\n--xYz"));
        let found = parts(body(&[part(FILE, &content)]).as_bytes(), &sizes).unwrap();
        prop_assert_eq!(found, [format!("file<application/octet-stream>={content}")]);
    }
}
