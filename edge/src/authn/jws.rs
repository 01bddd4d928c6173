//! A JWT taken apart: RFC 7515 compact serialization in its one canonical form. Whatever has a second spelling (padding, spare
//! bits, whitespace, a member twice) is refused, so that no two tokens mean the same and no two readers mean different things.
//! Nothing is believed here; `claims` and the keys decide.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::refusal::Cause;

/// The largest token that is looked at. Real ones have one or two kilobytes; the bound comes before any decoding, so that size
/// cannot buy work.
pub const BYTES_MAX: usize = 8 * 1024;

/// The longest key id. It is only ever compared.
const KEY_ID_BYTES_MAX: usize = 256;

/// A token in parts.
#[derive(Debug)]
pub struct Jws<'a> {
    /// What the signature is over: header, point, payload as they came.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    pub header: Header,
    pub claims: Map<String, Value>,
    /// The key that the header brings along. Of a token it means nothing (RFC 8725 section 3.10); a proof of possession is signed
    /// with it, and believed because the token names it.
    pub jwk: Option<Value>,
}

/// What of the header means something. `jku`, `x5u` and `x5c` do not: keys come from the issuer's source alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub algorithm: String,
    pub key_id: Option<String>,
    pub kind: Option<String>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    pub fn parse(token: &'a str) -> Result<Self, Cause> {
        if token.len() > BYTES_MAX {
            return Err(Cause::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Cause::Malformed)?;
        // Exactly three parts: five would be an encrypted token, two an unsigned one.
        let (header, claims) = signed.split_once('.').ok_or(Cause::Malformed)?;
        let signature = decoded(signature)?;
        if signature.is_empty() {
            return Err(Cause::Malformed);
        }
        let mut members = object(header)?;
        let jwk = members.remove("jwk");
        let header = header_of(&members)?;
        Ok(Self { signed: signed.as_bytes(), signature, header, claims: object(claims)?, jwk })
    }
}

fn header_of(header: &Map<String, Value>) -> Result<Header, Cause> {
    // RFC 7515 section 4.1.11: no extension is understood here, so any that must be is refused. RFC 7797's `b64` must be
    // listed there; standing alone it is a trap.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Cause::Critical);
    }
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Cause::Malformed),
    };
    let key_id = text("kid")?;
    if key_id.as_ref().is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
        return Err(Cause::Malformed);
    }
    Ok(Header { algorithm: text("alg")?.ok_or(Cause::Malformed)?, key_id, kind: text("typ")? })
}

fn object(part: &str) -> Result<Map<String, Value>, Cause> {
    json_object(&decoded(part)?)
}

/// A JSON object in which nothing is said twice.
pub fn json_object(json: &[u8]) -> Result<Map<String, Value>, Cause> {
    match serde_json::from_slice(json) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        Ok(_) | Err(_) => Err(Cause::Malformed),
    }
}

/// The engine refuses padding, other alphabets, whitespace and spare bits that are not zero.
fn decoded(part: &str) -> Result<Vec<u8>, Cause> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Cause::Malformed)
}

/// JSON in which no object has a member twice (RFC 8725 section 2.6, RFC 7519 section 4). serde_json bounds the depth.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, _>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
