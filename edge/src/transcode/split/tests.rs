use bytes::Bytes;
use proptest::prelude::*;

use super::super::json::Reader;
use super::{RequestError, Splitter};

/// The values of a body that arrives in pieces of these sizes, over and over, each read strictly.
fn split(body: &[u8], sizes: &[usize]) -> Result<Vec<String>, RequestError> {
    let mut splitter = Splitter::new(1000);
    let mut values = Vec::new();
    let mut keep = |part: super::Part| {
        let end = part.offset + part.json.len();
        assert_eq!(&body[part.offset..end], part.json, "a part knows where it stands");
        let mut reader = Reader::new(&part.json, usize::MAX)?;
        reader.skip()?;
        reader.finish()?;
        values.push(String::from_utf8(part.json.to_vec()).unwrap());
        Ok::<_, RequestError>(())
    };
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = behind;
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(part) = splitter.next_part()? {
            keep(part)?;
        }
    }
    if let Some(part) = splitter.finish()? {
        keep(part)?;
    }
    Ok(values)
}

#[test]
fn a_body_is_an_array_or_values_in_a_row() {
    let check = |body: &str, expect: &[&str]| {
        for size in [1, 2, 3, body.len().max(1)] {
            assert_eq!(split(body.as_bytes(), &[size]).unwrap(), expect, "{body} by {size}");
        }
    };
    check("", &[]);
    check(" \n ", &[]);
    check("[]", &[]);
    check(" [ ] \n", &[]);
    check("{}", &["{}"]);
    check("{}{}\n{ }", &["{}", "{}", "{ }"]);
    check(
        r#"[{"a":"]}"},{"a":"\\\""} , "x", 1,true ,[[],{}]]"#,
        &[r#"{"a":"]}"}"#, r#"{"a":"\\\""}"#, "\"x\"", "1", "true", "[[],{}]"],
    );
    check("1 2\n3", &["1", "2", "3"]);
    check("{}\n[1]", &["{}", "[1]"]);
    check("[\"ü\",\"[\"]", &["\"ü\"", "\"[\""]);
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let check = |body: &str, expect: Option<usize>| {
        for size in [1, 2, body.len()] {
            match split(body.as_bytes(), &[size]) {
                Err(RequestError::MalformedJson { offset, .. }) => {
                    assert!(expect.is_none_or(|expect| expect == offset), "{body} by {size}: {offset}");
                }
                other => panic!("{body} by {size}: {other:?}"),
            }
        }
    };
    check("[1,]", Some(3));
    check("[,1]", Some(1));
    check("[1 2]", Some(3));
    check("[1]x", Some(3));
    check("[1] [2]", Some(4));
    check("[", Some(1));
    check("[1", Some(2));
    check("[{}", Some(3));
    check("{\"a\":", Some(5));
    check("1,2", None);
    check("{]", None);
    check("nul", None);
    check("\u{feff}[]", None);
    check(&"[".repeat(102), None);
    check(&"{\"a\":".repeat(101), None);
}

#[test]
fn a_value_has_a_bound_and_the_stream_has_none() {
    let large = format!("[\"{}\"]", "x".repeat(999));
    for size in [1, 7, large.len()] {
        let refused = split(large.as_bytes(), &[size]);
        assert_eq!(refused, Err(RequestError::TooLarge { bytes_max: 1000 }), "by {size}");
    }
    let many = format!("[{}0]", "\"x\",".repeat(10_000));
    assert_eq!(split(many.as_bytes(), &[4096]).unwrap().len(), 10_001);
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        r#"[a-z"\\\[\]{},: ü\n]{0,8}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((r#"[a-z"]{0,3}"#, inner), 0..4)
                .prop_map(|members| json!(members.into_iter().collect::<std::collections::BTreeMap<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_values(
        values in prop::collection::vec(value(), 0..6),
        array in any::<bool>(),
        sizes in prop::collection::vec(1_usize..20, 1..8),
    ) {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        // A first value that is an array would be taken for the stream itself.
        let body = if array { format!("[{}]", texts.join(" ,")) } else { format!("0 {}", texts.join("\n")) };
        let mut expect = texts;
        if !array {
            expect.insert(0, "0".to_owned());
        }
        prop_assert_eq!(split(body.as_bytes(), &sizes).unwrap(), expect);
    }

    #[test]
    fn an_array_is_taken_exactly_when_the_reader_takes_it(
        body in r#"\[[\[\]{},:"\\a01 \n-]{0,12}\]?"#,
        sizes in prop::collection::vec(1_usize..5, 1..4),
    ) {
        let mut reader = Reader::new(body.as_bytes(), usize::MAX).unwrap();
        let strict = reader.skip().and_then(|()| reader.finish());
        prop_assert_eq!(split(body.as_bytes(), &sizes).is_ok(), strict.is_ok(), "{}", body);
    }
}
