//! Bodies as forms, where a method takes them: the names that lead to its fields as the properties of one object, and files as
//! properties that are bytes. What names there are is what a query could have, relative to the body.

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::parameter::{Parameters, find};
use super::schema::Schemas;
use super::{describe, well_known};
use crate::contract::Described;
use crate::transcode::{BindingKind, Media};

const URLENCODED: &str = "application/x-www-form-urlencoded";
const PARTS: &str = "multipart/form-data";

/// The fields of a form.
#[derive(Default)]
struct Fields {
    properties: Map<String, Value>,
    /// How those are written that are not written as OpenAPI expects.
    encoding: Map<String, Value>,
}

/// Adds the forms that a binding takes to its media types.
pub(super) fn add(content: &mut Map<String, Value>, schemas: &mut Schemas<'_>, binding: &Described<'_>) {
    let media = |content_type| binding.binding.media(Some(content_type)).ok();
    let input = binding.descriptor.input();
    let bound = binding.template.variables().iter().map(|variable| variable.field.as_str());
    if media(URLENCODED) == Some(Media::Form)
        && let Some((message, taken)) = base(binding, &input, bound.clone().collect())
    {
        let form = Fields::of(schemas, &message, &taken);
        content.insert(URLENCODED.to_owned(), form.into_media(&[]));
    }
    if media(PARTS) != Some(Media::Multipart) {
        return;
    }
    let raw = binding.binding.request_is_http_body();
    let mut form = Fields::default();
    if !raw {
        if let Some((message, taken)) = base(binding, &input, bound.collect()) {
            form = Fields::of(schemas, &message, &taken);
            form.take_files(schemas, &message, &taken);
        }
    } else if binding.body != "*" {
        form = Fields::of(schemas, &input, &bound.chain([binding.body]).collect::<Vec<_>>());
    }
    let streams = matches!(binding.binding.kind(), BindingKind::ClientStream | BindingKind::Bidi);
    if raw || streams {
        let text = if raw {
            "The bytes, with their media type, as the one file under any name. Of a stream it is the last part."
        } else {
            "The messages, as JSON: an array, or one a line. The other fields go into the first, and come before."
        };
        let mut file = binary();
        file.insert("description".to_owned(), text.into());
        form.properties.entry("file").or_insert(file.into());
    }
    content.insert(PARTS.to_owned(), form.into_media(if raw { &["file"] } else { &[] }));
}

/// The message whose fields a form has, and those of them that come from elsewhere.
fn base<'a>(
    binding: &Described<'_>,
    input: &MessageDescriptor,
    bound: Vec<&'a str>,
) -> Option<(MessageDescriptor, Vec<&'a str>)> {
    if binding.body == "*" {
        return Some((input.clone(), bound));
    }
    Some((find(input, binding.body)?.kind().as_message()?.clone(), Vec::new()))
}

impl Fields {
    fn of(schemas: &mut Schemas<'_>, message: &MessageDescriptor, taken: &[&str]) -> Self {
        let mut parameters = Parameters { schemas, list: Vec::new() };
        parameters.fields(message, "", "", taken, &mut vec![message.full_name().to_owned()]);
        let mut fields = Self::default();
        for mut parameter in parameters.list {
            let Some(name) = parameter["name"].as_str().map(str::to_owned) else { continue };
            if parameter.get("style").is_some() {
                // `name[key]=value`
                fields.encoding.insert(name.clone(), json!({"style": "deepObject", "explode": true}));
            }
            let text = parameter["description"].as_str().map(str::to_owned);
            // What is JSON in itself is written as its text.
            let mut schema = parameter["schema"].take();
            if schema.is_null() {
                schema = json!({"type": "string", "contentMediaType": "application/json"});
            }
            if let Some(schema) = schema.as_object_mut() {
                describe(schema, text.as_deref());
            }
            fields.properties.insert(name, schema);
        }
        fields
    }

    /// Makes files of the fields that are bytes.
    fn take_files(&mut self, schemas: &Schemas<'_>, message: &MessageDescriptor, taken: &[&str]) {
        let base64 = well_known::scalar(&Kind::Bytes).unwrap_or_default();
        let is_bytes = |schema: &Value| schema["contentEncoding"] == base64["contentEncoding"];
        for schema in self.properties.values_mut() {
            let place = if schema["type"] == "array" { &mut schema["items"] } else { schema };
            if let Some(place) = Some(place).filter(|place| is_bytes(place)).and_then(Value::as_object_mut) {
                place.remove("contentEncoding");
                place.extend(binary());
            }
        }
        for field in message.fields().filter(|field| !taken.contains(&field.name())) {
            let kind = field.kind();
            if !field.is_map()
                && kind.as_message().is_some_and(|kind| kind.full_name() == "google.api.HttpBody")
            {
                let one = Value::from(binary());
                let schema = if field.is_list() { json!({"type": "array", "items": one}) } else { one };
                self.properties.insert(schemas.name(&field), schema);
            }
        }
    }

    fn into_media(self, required: &[&str]) -> Value {
        let mut schema = json!({"type": "object", "properties": self.properties});
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        let mut media = json!({"schema": schema});
        if !self.encoding.is_empty() {
            media["encoding"] = self.encoding.into();
        }
        media
    }
}

/// A file. The format is what generators of clients and pages with a file chooser look for.
fn binary() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), "string".into()), ("format".to_owned(), "binary".into())])
}
