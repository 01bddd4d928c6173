//! From HTTP method and path to a route: a trie over path templates, built once. Pure text work; it knows neither methods nor
//! policies, only numbers that its owner gives meaning to. Start with `template` (the grammar of `google.api.http`), then
//! `trie` (the match), then `escape` (what percent-encoding means where).

mod escape;
mod path;
mod template;
mod trie;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use escape::decode_component;
pub use template::{Segment, Template, TemplateError, Variable};
pub use trie::{Found, Occupied, Router};

/// `[routing]` of `edge.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How a variable of several segments is percent-decoded; one of a single segment is always decoded whole.
    pub unescape: Unescape,
    /// Any `:x` at the end of a path is a verb, whether a template has it or not.
    pub match_unregistered_verb: bool,
    /// `/a/` is `/a`.
    pub strip_trailing_slash: bool,
    /// Longer paths are refused before matching. At most 65,535.
    pub path_bytes_max: u16,
}

/// What stays encoded in a variable of several segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unescape {
    /// The reserved characters of RFC 6570 stay, so that the value is still a path.
    #[default]
    ExceptReserved,
    /// Only the slash stays.
    ExceptSlash,
    /// Nothing stays.
    All,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            unescape: Unescape::default(),
            match_unregistered_verb: false,
            strip_trailing_slash: false,
            // Room for a long document name in each of a few variables; servers and proxies in use stop at 8 KiB.
            path_bytes_max: 4096,
        }
    }
}

/// Why a path has no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no such path")]
    UnknownPath,
    /// `allow` is the value of the Allow header: "GET, HEAD, OPTIONS, POST".
    #[error("method not allowed")]
    MethodNotAllowed { allow: String },
    /// A broken percent-escape, an encoded control character, or bytes that are not UTF-8.
    #[error("malformed path")]
    Malformed,
    #[error("path too long")]
    TooLong,
}

/// The values of a template's variables, decoded, in the template's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables<'p>(pub Vec<Cow<'p, str>>);
