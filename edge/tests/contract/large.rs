//! Inputs of a megabyte, each made to hit what would cost a careless reader the square of it. Only outcomes are asserted: a reader
//! that is not linear takes minutes here, and the test runner ends it.

use std::fmt::Write as _;

use bytes::Bytes;
use edge::route::{self, Refusal, Router, Template, TemplateError, Variables};
use edge::transcode::{RequestError, ResponseError, RestRequest, Splitter, Violation};

use super::targets::{plans, print, read};

const MEGABYTE: usize = 1 << 20;

fn repeat(text: &str, bytes: usize) -> String {
    text.repeat(bytes / text.len())
}

fn list(name: &str, element: &str, bytes: usize) -> Vec<u8> {
    let elements = repeat(&format!("{element},"), bytes);
    format!("{{\"{name}\":[{}]}}", elements.trim_end_matches(',')).into_bytes()
}

/// An object whose keys agree in length and in their first and last eight bytes.
fn alike(name: &str, value: &str, bytes: usize) -> String {
    let mut members = String::new();
    for index in 0.. {
        if members.len() > bytes {
            break;
        }
        write!(members, "\"alike---{index:08}---alike\":{value},").unwrap();
    }
    format!("{{\"{name}\":{{{}}}}}", members.trim_end_matches(','))
}

fn violations(verdict: Result<Vec<u8>, RequestError>) -> Vec<Violation> {
    match verdict {
        Err(RequestError::Invalid { violations }) => violations,
        other => panic!("{:?}", other.map(|wire| wire.len())),
    }
}

fn too_deep(offset: usize) -> Result<Vec<u8>, RequestError> {
    Err(RequestError::MalformedJson { offset, reason: "nested too deep" })
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field.
fn field(number: usize, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 8);
    varint(number << 3 | 2, &mut out);
    varint(value.len(), &mut out);
    out.extend_from_slice(value);
    out
}

fn bytes(record: &[u8], bytes: usize) -> Vec<u8> {
    record.repeat(bytes / record.len())
}

// Field numbers of Everything.
const S_VAL: usize = 1;
const R_I32: usize = 21;
const R_LEAF: usize = 25;
const NESTED: usize = 32;
const PICK_STR: usize = 40;
const PICK_LEAF: usize = 43;
const M_SS: usize = 50;
const STRUCT: usize = 73;
const ANY: usize = 76;

#[test]
fn nesting_without_end_is_refused_at_the_bound() {
    for (name, open) in [("lv", "["), ("st", "{\"a\":"), ("node", "{\"child\":"), ("unknown", "[")] {
        let text = format!("{{\"{name}\":{}", repeat(open, MEGABYTE));
        let offset = match read(text.as_bytes()) {
            Err(RequestError::MalformedJson { offset, reason: "nested too deep" }) => offset,
            other => panic!("{name}: {:?}", other.map(|wire| wire.len())),
        };
        assert!(offset < 1000, "{name}: {offset}");
    }
    let innermost = |name: &str| format!("{}0", repeat(&format!("{{\"{name}\":"), MEGABYTE));
    assert_eq!(read(innermost("nested").as_bytes()), too_deep(10 * 100));
}

#[test]
fn a_long_text_inside_many_messages_moves_once_a_level() {
    let text = "x".repeat(MEGABYTE);
    let (open, close) = ("{\"nested\":".repeat(99), "}".repeat(99));
    let wire = read(format!("{open}{{\"sVal\":\"{text}\"}}{close}").as_bytes()).unwrap();
    let json = print(&wire).unwrap();
    assert_eq!(json.len(), open.len() + text.len() + close.len() + "{\"sVal\":\"\"}".len());
}

#[test]
fn a_million_elements_are_read_and_printed() {
    for (name, element, record) in
        [("rI32", "1", 1), ("rI32", "\"1\"", 1), ("rStr", "\"\"", 3), ("rLeaf", "{}", 3), ("rF64", "0", 8)]
    {
        let json = list(name, element, MEGABYTE);
        let count = MEGABYTE / (element.len() + 1);
        let wire = read(&json).unwrap();
        assert_eq!(wire.len() / count, record, "{name} {element}");
        assert!(print(&wire).unwrap().starts_with(format!("{{\"{name}\":[").as_bytes()));
    }
    for value in ["null", "0", "[]", "{}", "\"\""] {
        let json = list("lv", value, MEGABYTE);
        assert_eq!(print(&read(&json).unwrap()).map(|json| json.len() > MEGABYTE - 100), Ok(true), "{value}");
    }
    assert_eq!(violations(read(&list("rLeaf", "0", MEGABYTE))).len(), 32);
    assert_eq!(violations(read(&list("rI32", "{}", MEGABYTE))).len(), 32);
}

#[test]
fn keys_that_look_alike_are_told_apart() {
    for (name, value) in [("mSs", "\"\""), ("st", "0"), ("mLeaf", "{}")] {
        let json = alike(name, value, MEGABYTE);
        let wire = read(json.as_bytes()).unwrap();
        let printed = print(&wire).unwrap();
        assert!(printed.len() >= json.len(), "{name}");
        let twice = json.replacen("00000001", "00000000", 1);
        let found = violations(read(twice.as_bytes()));
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].description, "has a key twice");
    }
    // As members of a message none is known, and only so many are told.
    let found = violations(read(alike("leaf", "0", MEGABYTE).as_bytes()));
    assert_eq!(found.len(), 32);
}

#[test]
fn the_same_member_over_and_over_is_refused() {
    for member in ["\"sVal\":\"a\",", "\"pickStr\":\"a\",\"pickBool\":true,", "\"nested\":{},", "\"zz\":0,"] {
        let members = repeat(member, MEGABYTE);
        let found = violations(read(format!("{{{}}}", members.trim_end_matches(',')).as_bytes()));
        assert_eq!(found.len(), 32, "{member}");
    }
}

#[test]
fn escapes_are_decoded_once() {
    for (escape, byte) in [("\\u0041", 'A'), ("\\\\", '\\'), ("\\n", '\n')] {
        let text = repeat(escape, MEGABYTE);
        let wire = read(format!("{{\"sVal\":\"{text}\",\"mSs\":{{\"{text}\":\"\"}}}}").as_bytes()).unwrap();
        let count = MEGABYTE / escape.len();
        assert_eq!(wire.iter().filter(|b| **b == byte as u8).count() / count, 2, "{escape}");
        print(&wire).unwrap();
    }
    let key = repeat("\\u0041", MEGABYTE);
    assert_eq!(violations(read(format!("{{\"{key}\":1}}").as_bytes())).len(), 1);
}

#[test]
fn numbers_may_be_long_and_are_judged_by_their_value() {
    let digits = "9".repeat(MEGABYTE);
    for number in
        [digits.clone(), format!("0.{digits}e1"), format!("1e{digits}"), format!("-{digits}.{digits}")]
    {
        assert_eq!(violations(read(format!("{{\"i64\":{number}}}").as_bytes())).len(), 1);
        assert_eq!(violations(read(format!("{{\"i64\":\"{number}\"}}").as_bytes())).len(), 1);
    }
    for (number, fits) in
        [(format!("0.{digits}"), true), (digits.clone(), false), (format!("1e-{digits}"), true)]
    {
        for name in ["f64", "f32", "val"] {
            assert_eq!(read(format!("{{\"{name}\":{number}}}").as_bytes()).is_ok(), fits, "{name}");
        }
    }
}

#[test]
fn an_any_inside_an_any_is_read_whole_at_each_level() {
    let text = "x".repeat(MEGABYTE);
    let levels = 40;
    let any = "\"@type\":\"t/google.protobuf.Any\"";
    let leaf = format!("{{\"@type\":\"t/google.protobuf.StringValue\",\"value\":\"{text}\"}}");
    let first = format!("{}{leaf}{}", format!("{{{any},\"value\":").repeat(levels), "}".repeat(levels));
    let last = format!("{}{leaf}{}", "{\"value\":".repeat(levels), format!(",{any}}}").repeat(levels));
    let wires = [first, last].map(|any| read(format!("{{\"any\":{any}}}").as_bytes()).unwrap());
    assert_eq!(wires[0], wires[1]);
    assert!(print(&wires[0]).unwrap().len() > MEGABYTE);
}

#[test]
fn the_last_member_of_a_oneof_is_printed() {
    let members = [field(PICK_STR, b"a"), field(PICK_LEAF, b"")].concat();
    assert_eq!(print(&bytes(&members, MEGABYTE)), Ok(b"{\"pickLeaf\":{}}".to_vec()));
}

#[test]
fn a_message_in_a_hundred_thousand_parts_is_joined() {
    let part = field(NESTED, &field(R_I32, &[1]));
    let json = print(&bytes(&part, MEGABYTE)).unwrap();
    assert_eq!(json.len(), "{\"nested\":{\"rI32\":[]}}".len() + 2 * (MEGABYTE / part.len()) - 1);
    // Parts inside parts: every level is joined from all of them.
    let levels = 60;
    let part = (0..levels).fold(field(R_I32, &[1]), |inner, _| field(NESTED, &inner));
    let json = print(&bytes(&part, MEGABYTE)).unwrap();
    let braces = (levels + 1) * 2 + levels * "\"nested\":".len();
    assert_eq!(json.len(), braces + "\"rI32\":[]".len() + 2 * (MEGABYTE / part.len()) - 1);
}

#[test]
fn lists_of_every_cut_are_printed() {
    let packed = field(R_I32, &vec![1; MEGABYTE]);
    let by_element = bytes(&[(R_I32 as u8 & 15) << 3 | 0x80, 1, 1], MEGABYTE * 3);
    let by_pairs = bytes(&field(R_I32, &[1, 1]), MEGABYTE * 5 / 2);
    let expect = list("rI32", "1", MEGABYTE * 2);
    assert_eq!(print(&packed).unwrap(), expect);
    assert_eq!(print(&by_element).unwrap(), expect);
    assert_eq!(print(&by_pairs).unwrap().len(), expect.len());
    let leaves = print(&bytes(&field(R_LEAF, b""), MEGABYTE)).unwrap();
    assert_eq!(leaves, list("rLeaf", "{}", MEGABYTE));
}

#[test]
fn a_key_over_and_over_is_printed_once_with_its_last_value() {
    let entry = |number, key: &[u8], value: &[u8]| field(number, &[field(1, key), field(2, value)].concat());
    let wire = [bytes(&entry(M_SS, b"k", b"a"), MEGABYTE), entry(M_SS, b"k", b"b")].concat();
    assert_eq!(print(&wire), Ok(b"{\"mSs\":{\"k\":\"b\"}}".to_vec()));
    let fields = bytes(&entry(1, b"k", &field(3, b"a")), MEGABYTE);
    assert_eq!(print(&field(STRUCT, &fields)), Ok(b"{\"st\":{\"k\":\"a\"}}".to_vec()));
}

#[test]
fn messages_without_end_are_refused_at_the_bound() {
    // Lengths are written from the inside out.
    let mut nested = Vec::new();
    while nested.len() < MEGABYTE {
        let mut head = Vec::new();
        varint(NESTED << 3 | 2, &mut head);
        varint(nested.len(), &mut head);
        nested.extend(head.iter().rev());
    }
    nested.reverse();
    assert_eq!(print(&nested), Err(ResponseError::TooDeep));
    assert_eq!(print(&vec![0x0b; MEGABYTE]), Err(ResponseError::TooDeep), "groups");
    assert_eq!(print(&bytes(&[0xfb, 0x7f, 0xfc, 0x7f], MEGABYTE)), Ok(b"{}".to_vec()), "groups in a row");
    assert_eq!(print(&vec![0xff; MEGABYTE]), Err(ResponseError::Malformed));
    let long = print(&field(S_VAL, &vec![1; MEGABYTE])).unwrap();
    assert_eq!(long.len(), "{\"sVal\":\"\"}".len() + 6 * MEGABYTE);
}

#[test]
fn an_any_that_does_not_print_costs_its_base64_once() {
    let leaf = [field(1, b"t/edgeconf.v1.Leaf"), field(2, &vec![0xff; MEGABYTE])].concat();
    let any = (0..40).fold(leaf, |inner, _| [field(1, b"t/google.protobuf.Any"), field(2, &inner)].concat());
    assert!(print(&field(ANY, &any)).unwrap().len() < MEGABYTE * 2);
}

fn bind(query: &str) -> Result<Vec<u8>, RequestError> {
    let nothing = Variables::default();
    let request = RestRequest { query: Some(query), ..RestRequest::new(&nothing) };
    let mut wire = Vec::new();
    plans().unbound.encode_request(&request, &mut wire).map(|()| wire)
}

#[test]
fn queries_end_at_their_bounds() {
    for parameter in ["a=1&", "sVal=1&", "rI32=1&", "mSs[a]=1&", "%zz&", "=&", "leaf.label=a&"] {
        let query = parameter.repeat(100_000);
        let found = violations(bind(&query));
        assert_eq!(found.last().unwrap().description, "has too many query parameters", "{parameter}");
    }
    assert!(bind(&repeat("&", MEGABYTE)).is_ok());
    assert!(bind(&format!("sVal={}", repeat("%41", MEGABYTE))).is_ok());
    assert!(bind(&format!("val=[{}0]", repeat("0,", MEGABYTE))).is_ok());
    assert_eq!(violations(bind(&repeat("[", MEGABYTE))).len(), 1);
}

#[test]
fn a_query_key_goes_no_deeper_than_a_message_may() {
    let key = |levels: usize| format!("{}sVal=a", "nested.".repeat(levels));
    assert_eq!(print(&bind(&key(99)).unwrap()).map(|json| json.len()), Ok(99 * 11 + 12));
    for levels in [100, 101, MEGABYTE / 7] {
        let found = violations(bind(&key(levels)));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].description, "is nested too deep");
    }
    // A value that is JSON goes on from there: two messages a list.
    for (levels, lists, fits) in [(0, 50, true), (0, 51, false), (50, 25, true), (50, 26, false)] {
        let query = format!("{}lv={}{}", "nested.".repeat(levels), "[".repeat(lists), "]".repeat(lists));
        assert_eq!(bind(&query).is_ok(), fits, "{levels} {lists}");
    }
}

#[test]
fn templates_end_at_their_bounds() {
    let mut variables = String::new();
    for index in 0..100_000 {
        write!(variables, "/{{v{index}}}").unwrap();
    }
    for (template, expect) in [
        (variables, TemplateError::TooLong),
        (repeat("/a", MEGABYTE), TemplateError::TooLong),
        (format!("/{{a={}}}", repeat("a/", MEGABYTE)), TemplateError::TooLong),
        (repeat("/**", MEGABYTE), TemplateError::TooLong),
        (repeat("/{", MEGABYTE), TemplateError::Variable),
        (format!("/a{}", repeat(":", MEGABYTE)), TemplateError::Verb),
        (format!("/{}", repeat("%", MEGABYTE)), TemplateError::Literal),
    ] {
        assert_eq!(Template::parse(&template).map(|_| ()), Err(expect), "{}", &template[..20]);
    }
    assert!(Template::parse(&format!("/{}", repeat("%41", MEGABYTE))).is_ok());
}

/// Every way to write eight segments as `a` or `*`, each with an end that no path has.
#[test]
fn a_path_that_could_go_every_way_goes_each_once() {
    let mut router = Router::new(route::Options::default());
    for (target, choice) in (0..1u32 << 12).enumerate() {
        let segment = |place: u32| if choice >> place & 1 == 0 { "/a" } else { "/*" };
        let template: String = (0..12).map(segment).collect();
        for end in ["/**/end", "/x"] {
            let template = Template::parse(&format!("{template}{end}")).unwrap();
            router.add("GET", &template, target as u32).unwrap();
        }
    }
    let path = "/a".repeat(64);
    assert_eq!(router.find("GET", &path, &|_| true).map(|found| found.target), Err(Refusal::UnknownPath));
    assert_eq!(router.find("GET", &format!("{path}/a"), &|_| true).map(|_| ()), Err(Refusal::TooLong));
    let escaped = format!("/{}", repeat("%41", 4094));
    assert_eq!(router.find("GET", &escaped, &|_| true).map(|_| ()), Err(Refusal::UnknownPath));
    for path in ["/".repeat(4096), "/a".repeat(MEGABYTE / 2), ":a".repeat(MEGABYTE / 2)] {
        assert_eq!(router.find("GET", &path, &|_| true).map(|_| ()), Err(Refusal::TooLong));
    }
    assert_eq!(
        router.find("GET", &format!("/{}", ":".repeat(4095)), &|_| true).map(|_| ()),
        Err(Refusal::UnknownPath)
    );
}

#[test]
fn a_stream_that_comes_byte_by_byte_is_cut_as_any_other() {
    let text = format!("\"{}\"", "x".repeat(MEGABYTE));
    let spaces = format!("{} 1", " ".repeat(MEGABYTE));
    for (body, count) in [
        (list_of("{}", MEGABYTE), MEGABYTE / 3),
        (repeat("1 ", MEGABYTE), MEGABYTE / 2),
        (text, 1),
        (spaces, 1),
        (format!("\"{}\"", repeat("\\\\", MEGABYTE)), 1),
        (list_of(&format!("\"{}\"", "x".repeat(1000)), MEGABYTE), MEGABYTE / 1003),
    ] {
        for size in [1, 7, body.len()] {
            let mut splitter = Splitter::new(usize::MAX);
            let mut parts = 0;
            for piece in body.as_bytes().chunks(size) {
                splitter.push(Bytes::copy_from_slice(piece));
                while splitter.next_part().unwrap().is_some() {
                    parts += 1;
                }
            }
            parts += usize::from(splitter.finish().unwrap().is_some());
            assert_eq!(parts, count, "{} by {size}", &body[..10]);
        }
    }
}

fn list_of(element: &str, bytes: usize) -> String {
    format!("[{}]", repeat(&format!("{element},"), bytes).trim_end_matches(','))
}
