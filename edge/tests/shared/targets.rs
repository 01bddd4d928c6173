//! The fuzz targets: each reader of what strangers write, and what must hold of whatever it accepts. A target takes any bytes
//! and panics where something does not hold. The fuzzer runs them from `edge/fuzz`; `tests/contract/corpora` runs them over
//! every input that the fuzzer found worth keeping.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use edge::route::{self, Router, Segment, Template, Variables};
use edge::transcode::{
    self, Binding, Looks, Marks, RequestError, ResponseError, RestRequest, Source, Splitter, Types,
};
use prost_reflect::prost::encoding::{self, DecodeContext, WireType};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use crate::cases;

const EVERYTHING: &str = "edgeconf.v1.Everything";

/// Bindings of one message that has every type.
pub struct Plans {
    pub everything: MessageDescriptor,
    /// The body is the message.
    pub whole: Binding,
    /// Path and query are the message.
    pub unbound: Binding,
    /// The body is a field of the message, the query the rest.
    pub field: Binding,
}

pub fn plans() -> &'static Plans {
    static PLANS: OnceLock<Plans> = OnceLock::new();
    PLANS.get_or_init(|| {
        let pool = DescriptorPool::decode(cases::compile_schema().as_slice()).unwrap();
        let types = Arc::new(Types::compile(&pool).unwrap());
        let binding = |http_method, template, body| {
            let source = Source {
                input: EVERYTHING,
                output: EVERYTHING,
                client_streaming: false,
                server_streaming: false,
                http_method,
                template: &Template::parse(template).unwrap(),
                body,
                response_body: "",
                looks: Looks { update_mask_from_body: true, ..Looks::default() },
                marks: Marks::default(),
                ignore_unknown_fields: false,
            };
            // How many elements there may be is tested elsewhere; here it would hide what many of them cost.
            let options = transcode::Options { elements_max: usize::MAX, ..transcode::Options::default() };
            Binding::compile(types.clone(), Arc::new(options), &source).unwrap()
        };
        Plans {
            everything: pool.get_message_by_name(EVERYTHING).unwrap(),
            whole: binding("POST", "/e", "*"),
            unbound: binding("GET", "/e/{s_val}", ""),
            field: binding("PATCH", "/e", "nested"),
        }
    })
}

/// What is written is well formed and comes back as it went: printed, read and printed again it is the same text, and
/// prost-reflect sees the same message in both.
fn round_trip(wire: &[u8]) {
    let json = print(wire).expect("what was read prints");
    let again = read(&json).expect("what was printed reads");
    let json_again = print(&again).expect("what was read again prints");
    assert_eq!(text(&json), text(&json_again));
    let one = reflected(wire).expect("what was read is well formed");
    assert_eq!(one, reflected(&again).expect("what was read again is well formed"));
}

/// The message that a body is.
pub fn read(json: &[u8]) -> Result<Vec<u8>, RequestError> {
    let nothing = Variables::default();
    let mut wire = Vec::new();
    plans().whole.encode_request(&RestRequest { body: json, ..RestRequest::new(&nothing) }, &mut wire)?;
    Ok(wire)
}

/// The JSON that a message is.
pub fn print(wire: &[u8]) -> Result<Vec<u8>, ResponseError> {
    let mut json = Vec::new();
    plans().whole.decode_response(wire, &mut json)?;
    Ok(json)
}

/// As prost-reflect understands a message, if it does. By way of JSON, so that NaN equals itself and maps have no order, and of
/// text, so that both sides of a comparison go through the same reader of numbers.
fn reflected(wire: &[u8]) -> Option<Value> {
    let message = DynamicMessage::decode(plans().everything.clone(), wire).ok()?;
    serde_json::from_slice(&serde_json::to_vec(&message).ok()?).ok()
}

/// Nothing if an entry of a map has another wire type than entries have: prost-reflect takes it for one, we do not.
fn has_sound_maps(descriptor: &MessageDescriptor, mut wire: &[u8]) -> Option<()> {
    while !wire.is_empty() {
        let (number, wire_type) = encoding::decode_key(&mut wire).ok()?;
        let field = descriptor.get_field(number);
        let is_map = field.as_ref().is_some_and(FieldDescriptor::is_map);
        match field.map(|field| field.kind()) {
            Some(Kind::Message(inner)) if wire_type == WireType::LengthDelimited => {
                let length = usize::try_from(encoding::decode_varint(&mut wire).ok()?).ok()?;
                let (value, rest) = wire.split_at_checked(length)?;
                has_sound_maps(&inner, value)?;
                wire = rest;
            }
            _ if is_map => return None,
            _ => encoding::skip_field(wire_type, number, &mut wire, DecodeContext::default()).ok()?,
        }
    }
    Some(())
}

/// Without the members that a NullValue is: one that is not zero is null to prost-reflect, and absent to us as a null is.
fn without_nul(json: Value) -> Value {
    match json {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(key, value)| key != "nul" || !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nul(value))).collect())
        }
        Value::Array(elements) => elements.into_iter().map(without_nul).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json,
    }
}

fn text(json: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(json)
}

/// A body becomes a message that comes back.
pub fn json(input: &[u8]) {
    if let Ok(wire) = read(input) {
        assert!(input.is_empty() || serde_json::from_slice::<Value>(input).is_ok(), "only JSON is accepted");
        round_trip(&wire);
    }
}

/// A message becomes JSON that serde_json reads and our reader takes, but for what has no way back.
pub fn wire(input: &[u8]) {
    let Ok(json) = print(input) else { return };
    let printed: Value = serde_json::from_slice(&json).expect("what is printed is JSON");
    let has_any = text(&json).contains("\"@type\":");
    // prost-reflect prints a wrapped infinity as null, and takes the negative zero for the default.
    let plain = ["Infinity", "NaN", "-0.0"].iter().all(|number| !text(&json).contains(number));
    if !has_any
        && plain
        && has_sound_maps(&plans().everything, input).is_some()
        && let Some(reflected) = reflected(input)
    {
        assert_eq!(without_nul(printed), without_nul(reflected));
    }
    match read(&json) {
        Ok(wire) => {
            assert_eq!(text(&json), text(&print(&wire).expect("what was read prints")));
        }
        // A Struct has three messages on the wire for each container of its JSON, so the wire's bound comes first.
        Err(RequestError::MalformedJson { reason: "nested too deep", .. }) => {}
        // An Any of an unknown type, or one that is broken, is printed as base64 that means nothing to the reader.
        Err(RequestError::Invalid { .. }) if has_any => {}
        Err(error) => panic!("{error:?} of {}", text(&json)),
    }
}

/// The first line is a path variable, the second a query, the rest a body. The query fills a message alone, as a form, and
/// beside the body.
pub fn query(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (variable, rest) = input.split_once('\n').unwrap_or(("", input));
    let (query, body) = rest.split_once('\n').unwrap_or((rest, ""));
    let (plans, nothing) = (plans(), Variables::default());
    let encode = |binding: &Binding, request: RestRequest<'_>| {
        let mut wire = Vec::new();
        binding.encode_request(&request, &mut wire).map(|()| wire)
    };
    let unbound = encode(&plans.unbound, RestRequest { query: Some(query), ..RestRequest::new(&nothing) });
    let form = RestRequest {
        body: query.as_bytes(),
        content_type: Some("application/x-www-form-urlencoded"),
        ..RestRequest::new(&nothing)
    };
    // A refusal has other words for either, and a form selects nothing of the answer.
    if !query.contains("fields") && !query.contains('%') {
        assert_eq!(unbound.as_ref().ok(), encode(&plans.whole, form).as_ref().ok(), "a form is a query");
    }
    let variables = Variables(vec![variable.into()]);
    let bound = encode(&plans.unbound, RestRequest { query: Some(query), ..RestRequest::new(&variables) });
    let beside = RestRequest { query: Some(query), body: body.as_bytes(), ..RestRequest::new(&nothing) };
    let beside = encode(&plans.field, beside);
    for wire in [unbound, bound, beside].into_iter().flatten() {
        round_trip(&wire);
    }
}

/// The input is a template; a template written from its parts has the same parts.
pub fn template(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let Ok(template) = Template::parse(input) else { return };
    assert_eq!(template.text(), input);
    let rewritten = Template::parse(&rewrite(&template)).expect("the parts of a template are a template");
    assert_eq!(rewritten.segments(), template.segments());
    assert_eq!(rewritten.verb(), template.verb());
    assert_eq!(rewritten.variables(), template.variables());
}

fn rewrite(template: &Template) -> String {
    let escape =
        |text: &[u8]| percent_encoding::percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let segment = |index: usize| match &template.segments()[index] {
        Segment::Literal(text) => escape(text),
        Segment::Any => "*".to_owned(),
        Segment::Deep => "**".to_owned(),
    };
    let (mut parts, mut at) = (Vec::new(), 0);
    for variable in template.variables() {
        parts.extend((at..variable.start).map(segment));
        let pattern: Vec<String> = (variable.start..variable.end).map(segment).collect();
        parts.push(format!("{{{}={}}}", variable.field, pattern.join("/")));
        at = variable.end;
    }
    parts.extend((at..template.segments().len()).map(segment));
    let verb = template.verb().map(|verb| format!(":{}", escape(verb))).unwrap_or_default();
    format!("/{}{verb}", parts.join("/"))
}

/// Every line but the last is a template, the last a path. What is found matches, and what matches is found.
pub fn route(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (lines, path) = input.rsplit_once('\n').unwrap_or(("", input));
    let mut router = Router::new(route::Options::default());
    let mut templates = Vec::new();
    for template in lines.lines().filter_map(|line| Template::parse(line).ok()) {
        if router.add("GET", &template, templates.len() as u32).is_ok() {
            templates.push(template);
        }
    }
    match router.find("GET", path, &|_| true) {
        Ok(found) => {
            let template = &templates[found.target as usize];
            assert!(fits(template, path), "{} does not match {path}", template.text());
            if let Ok(variables) = router.variables(&found, template) {
                assert_eq!(variables.0.len(), template.variables().len());
            }
        }
        Err(route::Refusal::UnknownPath) => {
            if let Some(template) = templates.iter().find(|template| fits(template, path)) {
                panic!("{} matches {path} and is not found", template.text());
            }
        }
        Err(route::Refusal::MethodNotAllowed { .. }) => panic!("there is one method"),
        Err(route::Refusal::Malformed | route::Refusal::TooLong) => {}
    }
}

/// Whether a template matches a path, told as simply as can be.
fn fits(template: &Template, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let path = match template.verb() {
        None => path,
        Some(verb) => match path.rsplit_once(':') {
            Some((stem, found)) if !found.is_empty() && *decoded(found) == *verb => stem,
            _ => return false,
        },
    };
    let path: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    let pattern = template.segments();
    let (head, tail) = match pattern.iter().position(|segment| *segment == Segment::Deep) {
        None if path.len() != pattern.len() => return false,
        None => (pattern, &[][..]),
        Some(_) if path.len() < pattern.len() - 1 => return false,
        Some(deep) => (&pattern[..deep], &pattern[deep + 1..]),
    };
    let tail_start = path.len() - tail.len();
    head.iter().zip(&path).chain(tail.iter().zip(&path[tail_start..])).all(|(segment, text)| match segment {
        Segment::Literal(literal) => *decoded(text) == **literal,
        Segment::Any | Segment::Deep => !text.is_empty(),
    })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode_str(text).into()
}

/// The first two bytes say how a body is cut and how large its values may be, the rest is the body. However it is cut, the
/// parts and the refusal are the same.
pub fn split(input: &[u8]) {
    let [size, bound, body @ ..] = input else { return };
    let bound = match bound {
        255 => usize::MAX,
        bound => usize::from(*bound),
    };
    let whole = parts(body, body.len(), bound);
    assert_eq!(whole, parts(body, 1, bound));
    assert_eq!(whole, parts(body, usize::from(*size), bound));
}

/// The parts of a body that arrives in pieces of a size, and what ends it.
fn parts(body: &[u8], size: usize, bound: usize) -> (Vec<transcode::Part>, Option<RequestError>) {
    let mut splitter = Splitter::new(bound);
    let mut parts = Vec::new();
    for piece in body.chunks(size.max(1)) {
        splitter.push(Bytes::copy_from_slice(piece));
        loop {
            match splitter.next_part() {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => break,
                Err(error) => return (parts, Some(error)),
            }
        }
    }
    match splitter.finish() {
        Ok(last) => parts.extend(last),
        Err(error) => return (parts, Some(error)),
    }
    for part in &parts {
        assert_eq!(
            body[part.offset..part.offset + part.json.len()],
            part.json,
            "a part knows where it stands"
        );
    }
    (parts, None)
}
