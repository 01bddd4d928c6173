//! Path templates of `google.api.http` in OpenAPI's words: literals, and one parameter for each wildcard. What OpenAPI cannot
//! say, that a `**` takes slashes along, is said in the parameter's description.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::route::{Segment, Template};

/// What may stand in a path as it is.
const LITERAL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// A template as OpenAPI writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Literals between the wildcards: one more than there are wildcards.
    literals: Vec<String>,
    pub(super) wildcards: Vec<Wildcard>,
}

/// A part of a path that a client fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard {
    pub(super) name: String,
    /// The field it fills, if it is all of that field's text.
    pub(super) whole: Option<String>,
    /// Whether it takes any number of segments.
    pub(super) deep: bool,
}

impl Shown {
    pub(super) fn of(template: &Template) -> Self {
        let mut shown = Self { literals: vec![String::new()], wildcards: Vec::new() };
        for (index, segment) in template.segments().iter().enumerate() {
            shown.text("/");
            match segment {
                Segment::Literal(bytes) => shown.text(&percent_encode(bytes, LITERAL).to_string()),
                Segment::Any | Segment::Deep => {
                    let wildcard = wildcard(template, index, *segment == Segment::Deep);
                    shown.wildcards.push(wildcard);
                    shown.literals.push(String::new());
                }
            }
        }
        if template.segments().is_empty() {
            shown.text("/");
        }
        if let Some(verb) = template.verb() {
            shown.text(&format!(":{}", percent_encode(verb, LITERAL)));
        }
        shown
    }

    fn text(&mut self, text: &str) {
        if let Some(last) = self.literals.last_mut() {
            last.push_str(text);
        }
    }

    /// The path with the parameters named.
    pub(super) fn named(&self) -> String {
        self.written(|wildcard| format!("{{{}}}", wildcard.name))
    }

    /// The path without the parameters' names: OpenAPI takes two paths that differ in names only for the same.
    pub(super) fn shape(&self) -> String {
        self.written(|_| "{}".to_owned())
    }

    fn written(&self, write: impl Fn(&Wildcard) -> String) -> String {
        let mut path = String::new();
        for (index, literal) in self.literals.iter().enumerate() {
            path.push_str(literal);
            path.extend(self.wildcards.get(index).map(&write));
        }
        path
    }
}

fn wildcard(template: &Template, index: usize, deep: bool) -> Wildcard {
    let inside = |variable: &&crate::route::Variable| (variable.start..variable.end).contains(&index);
    let Some(variable) = template.variables().iter().find(inside) else {
        return Wildcard { name: format!("segment_{}", index + 1), whole: None, deep };
    };
    let is_wildcard = |place: &usize| !matches!(template.segments().get(*place), Some(Segment::Literal(_)));
    let before = (variable.start..index).filter(is_wildcard).count();
    let all = (variable.start..variable.end).filter(is_wildcard).count();
    let name = if all == 1 { variable.field.clone() } else { format!("{}_{}", variable.field, before + 1) };
    let whole = (variable.end - variable.start == 1).then(|| variable.field.clone());
    Wildcard { name, whole, deep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_paths_with_a_parameter_for_each_wildcard() {
        let check = |template: &str, named: &str, shape: &str| {
            let shown = Shown::of(&Template::parse(template).unwrap());
            assert_eq!((shown.named().as_str(), shown.shape().as_str()), (named, shape), "{template}");
        };
        check("/", "/", "/");
        check("/v1/a", "/v1/a", "/v1/a");
        check("/v1/a:run", "/v1/a:run", "/v1/a:run");
        check("/v1/{a}/b/{c.d}:run", "/v1/{a}/b/{c.d}:run", "/v1/{}/b/{}:run");
        check("/v1/{name=a/*}", "/v1/a/{name}", "/v1/a/{}");
        check("/v1/{name=a/*/b/*}/*", "/v1/a/{name_1}/b/{name_2}/{segment_6}", "/v1/a/{}/b/{}/{}");
        check("/v1/{path=**}", "/v1/{path}", "/v1/{}");
    }

    #[test]
    fn only_a_whole_segment_has_its_fields_type() {
        let shown = Shown::of(&Template::parse("/{a}/{b=x/*}").unwrap());
        let whole: Vec<_> = shown.wildcards.iter().map(|wildcard| wildcard.whole.as_deref()).collect();
        assert_eq!(whole, [Some("a"), None]);
    }
}
