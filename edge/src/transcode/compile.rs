//! One `google.api.http` binding compiled: names become places, and what cannot work is refused while the configuration is
//! loaded. `binding` has what the result does with requests.

use std::sync::Arc;

use super::bind::field_at;
use super::types::{FieldId, Form, Kind, MessageId, Shape, Types};
use super::{Binding, BindingKind, Options, print, scalar, select};
use crate::route::Template;

/// The name of the type whose JSON is no JSON.
pub(super) const HTTP_BODY: &str = "google.api.HttpBody";

/// What a binding is compiled from, beside the types of its set.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Full names of the method's messages.
    pub input: &'a str,
    pub output: &'a str,
    pub client_streaming: bool,
    pub server_streaming: bool,
    /// `GET`, or `*`.
    pub http_method: &'a str,
    pub template: &'a Template,
    /// As the rule has them: `""`, `*` or a field path.
    pub body: &'a str,
    pub response_body: &'a str,
    pub looks: Looks<'a>,
    pub marks: Marks<'a>,
    pub ignore_unknown_fields: bool,
}

/// How the method looks over REST: `(edge.v1.rest)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks<'a> {
    pub success_status: u16,
    pub location: &'a str,
    pub update_mask_from_body: bool,
    /// As the options have it where it is not set; the next two as well.
    pub print_defaults: Option<bool>,
    pub print_enum_numbers: Option<bool>,
    pub print_proto_names: Option<bool>,
    pub etag: bool,
}

/// Top-level fields with a meaning of their own: `(edge.v1.field)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks<'a> {
    pub request_id: Option<&'a str>,
    pub resume_position: Option<&'a str>,
    pub request_etag: Option<&'a str>,
    pub response_etag: Option<&'a str>,
    pub response_position: Option<&'a str>,
}

/// Which part of the request message the body is.
#[derive(Debug)]
pub(super) enum Body {
    /// None: a body is refused.
    None,
    Whole,
    Field(Box<[FieldId]>),
}

/// A path variable.
#[derive(Debug)]
pub(super) struct BoundVariable {
    pub(super) name: String,
    pub(super) path: Box<[FieldId]>,
}

/// A part of the Location header.
#[derive(Debug)]
pub(super) enum LocationPart {
    Text(String),
    Field(Box<[FieldId]>),
}

impl Binding {
    /// Compiles a binding.
    ///
    /// # Errors
    /// Says what of the rule or of the options cannot work.
    pub fn compile(types: Arc<Types>, options: Arc<Options>, source: &Source<'_>) -> Result<Self, String> {
        let find = |name: &str| types.find(name).ok_or_else(|| format!("message {name} is not in its set"));
        let (input, output) = (find(source.input)?, find(source.output)?);
        let body = match source.body {
            "" => Body::None,
            "*" => Body::Whole,
            path => Body::Field(resolve(&types, input, path).map_err(|problem| format!("body: {problem}"))?),
        };
        let response_body = match source.response_body {
            "" => None,
            path => {
                Some(resolve(&types, output, path).map_err(|problem| format!("response_body: {problem}"))?)
            }
        };
        let variables = variables(&types, input, source.template)?;
        let raw_request = match &body {
            Body::None => false,
            Body::Whole => is_http_body(&types, input, &[]),
            Body::Field(path) => is_http_body(&types, input, path),
        };
        let raw_response = is_http_body(&types, output, response_body.as_deref().unwrap_or_default());
        let kind = match (source.client_streaming, source.server_streaming) {
            (false, false) => BindingKind::Unary,
            (false, true) if raw_response => BindingKind::HttpBodyDownload,
            (false, true) => BindingKind::ServerStream,
            (true, false) if raw_request => BindingKind::HttpBodyUpload,
            (true, false) => BindingKind::ClientStream,
            (true, true) => BindingKind::Bidi,
        };
        let success_status = match source.looks.success_status {
            0 => 200,
            status @ (200 | 201 | 202 | 204) => status,
            _ => return Err("rest: success_status must be 200, 201, 202 or 204".into()),
        };
        let top = |id, name: Option<&str>, mark| name.map(|name| marked(&types, id, name, mark)).transpose();
        let update_mask = (source.looks.update_mask_from_body && source.http_method == "PATCH")
            .then(|| update_mask(&types, input, &body))
            .flatten();
        Ok(Self {
            kind,
            http_method: source.http_method.to_owned(),
            template: source.template.text().into(),
            success_status,
            input,
            output,
            variables,
            raw_request,
            raw_response,
            location: location(&types, output, source.looks.location)?,
            etag: if source.looks.etag { top(output, source.marks.response_etag, "etag")? } else { None },
            request_id: top(input, source.marks.request_id, "request_id")?,
            if_match: top(input, source.marks.request_etag, "etag")?,
            resume_position: position(&types, input, source.marks.resume_position)?,
            response_position: position(&types, output, source.marks.response_position)?,
            update_mask,
            selectors: selectors(&types, input),
            printed: printed(&types, output, response_body.as_deref()),
            ignore_unknown_fields: source.ignore_unknown_fields,
            reading: scalar::Habits { case_insensitive_enums: options.case_insensitive_enums },
            printing: print::Habits {
                defaults: source.looks.print_defaults.unwrap_or(options.print_defaults),
                enum_numbers: source.looks.print_enum_numbers.unwrap_or(options.print_enum_numbers),
                proto_names: source.looks.print_proto_names.unwrap_or(options.print_proto_names),
            },
            body,
            response_body,
            options,
            types,
        })
    }
}

fn variables(types: &Types, input: MessageId, template: &Template) -> Result<Box<[BoundVariable]>, String> {
    let bind = |name: &str| {
        let path = resolve(types, input, name).map_err(|problem| format!("variable {name}: {problem}"))?;
        let field = field_at(types, input, &path).ok_or("no field")?;
        let is_text = |id| {
            let form = types.message(id).form;
            matches!(form, Form::Timestamp | Form::Duration | Form::FieldMask | Form::Wrapper)
        };
        let bindable = field.shape == Shape::Singular && field.kind.message().is_none_or(is_text);
        if !bindable {
            return Err(format!("variable {name}: a path cannot hold a message, a map or a list"));
        }
        Ok(BoundVariable { name: name.to_owned(), path })
    };
    template.variables().iter().map(|variable| bind(&variable.field)).collect()
}

/// A field path in proto names as places; every field on the way is a single message.
fn resolve(types: &Types, root: MessageId, path: &str) -> Result<Box<[FieldId]>, String> {
    let mut at = Some(root);
    let mut places = Vec::new();
    for name in path.split('.') {
        let Some(message) = at else {
            return Err(format!("{path} goes through a field that is not a single message"));
        };
        let plan = types.message(message);
        let place = plan
            .fields
            .iter()
            .position(|field| field.name == name)
            .ok_or_else(|| format!("{} has no field {name}", plan.name))?;
        let field = &plan.fields[place];
        places.push(place as FieldId);
        at = match (field.shape, field.kind) {
            (Shape::Singular, Kind::Message(next)) => Some(next),
            _ => None,
        };
    }
    Ok(places.into())
}

/// A marked field: a string at the top of its message.
fn marked(types: &Types, root: MessageId, name: &str, mark: &str) -> Result<FieldId, String> {
    let path = resolve(types, root, name)?;
    let field = field_at(types, root, &path).ok_or("no field")?;
    if (field.shape, field.kind) != (Shape::Singular, Kind::String) {
        return Err(format!("field {name} is marked as {mark} and not a string"));
    }
    Ok(path[0])
}

/// The query parameters that select fields of the answer: both names, unless the request has a field of the plain one.
fn selectors(types: &Types, input: MessageId) -> &'static [&'static str] {
    let taken = types.message(input).by_key(b"fields", 0).is_some();
    if taken { &["$fields"] } else { &["$fields", "fields"] }
}

/// The message whose fields can be selected: what is printed, or what there are several of in it.
fn printed(types: &Types, output: MessageId, response_body: Option<&[FieldId]>) -> Option<MessageId> {
    match response_body.and_then(|path| field_at(types, output, path)) {
        Some(field) => select::behind(types, field),
        None => Some(output),
    }
}

/// A position in a stream: a scalar of any kind at the top of its message.
fn position(types: &Types, root: MessageId, name: Option<&str>) -> Result<Option<FieldId>, String> {
    let Some(name) = name else { return Ok(None) };
    let path = resolve(types, root, name)?;
    let field = field_at(types, root, &path).ok_or("no field")?;
    if field.shape != Shape::Singular || field.kind.message().is_some() {
        return Err(format!("field {name} is marked as resume_position and not a scalar"));
    }
    Ok(Some(path[0]))
}

/// The request's only FieldMask, if the body is a message of fields beside it.
fn update_mask(types: &Types, input: MessageId, body: &Body) -> Option<FieldId> {
    let Body::Field(path) = body else { return None };
    let Kind::Message(target) = field_at(types, input, path)?.kind else { return None };
    if types.message(target).form != Form::Object {
        return None;
    }
    let is_mask = |field: &super::types::Field| match (field.shape, field.kind) {
        (Shape::Singular, Kind::Message(id)) => types.message(id).form == Form::FieldMask,
        _ => false,
    };
    let mut masks = types.message(input).fields.iter().zip(0..).filter(|(field, _)| is_mask(field));
    match (masks.next(), masks.next()) {
        (Some((_, place)), None) => Some(place),
        _ => None,
    }
}

fn is_http_body(types: &Types, root: MessageId, path: &[FieldId]) -> bool {
    let id = match field_at(types, root, path) {
        None => root,
        Some(field) => match (field.shape, field.kind) {
            (Shape::Singular, Kind::Message(id)) => id,
            _ => return false,
        },
    };
    types.message(id).name == HTTP_BODY
}

/// A template over the response's fields: plain text and `{field.path}`.
fn location(types: &Types, output: MessageId, template: &str) -> Result<Box<[LocationPart]>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("location: a brace is not closed")?;
        let path = resolve(types, output, name).map_err(|problem| format!("location: {problem}"))?;
        let field = field_at(types, output, &path).ok_or("location: no field")?;
        if field.shape != Shape::Singular || matches!(field.kind, Kind::Message(_)) {
            return Err(format!("location: {name} is not a scalar"));
        }
        parts.push(LocationPart::Text(text.to_owned()));
        parts.push(LocationPart::Field(path));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(LocationPart::Text(rest.to_owned()));
    }
    Ok(parts.into())
}
