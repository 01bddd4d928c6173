//! Path templates in the grammar of `google.api.http`:
//!
//! ```text
//! Template = "/" [ Segments ] [ ":" LITERAL ] ;
//! Segments = Segment { "/" Segment } ;
//! Segment  = "*" | "**" | LITERAL | "{" FieldPath [ "=" Segments ] "}" ;
//! ```
//!
//! Stricter than the comment in `http.proto` where that leaves a hole: one `**` at most (it may be followed by a tail of fixed
//! length), no variable inside a variable, no variable twice, no colon and nothing that needs escaping inside a literal.

use super::escape;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) text: String,
    pub(super) segments: Vec<Segment>,
    /// Decoded.
    pub(super) verb: Option<Vec<u8>>,
    variables: Vec<Variable>,
}

/// What stands at one place of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text, decoded.
    Literal(Vec<u8>),
    /// `*`: any one segment that is not empty.
    Any,
    /// `**`: any number of segments, none included.
    Deep,
}

/// A variable and the segments it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// `a.b.c`, proto names.
    pub field: String,
    /// Index of its first segment in the template.
    pub start: usize,
    /// One past its last.
    pub end: usize,
}

/// Why a template is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("does not start with a slash")]
    NoSlash,
    #[error("has an empty segment")]
    EmptySegment,
    #[error("has an empty verb, or a verb without a segment")]
    Verb,
    #[error("has a character in a literal that a path cannot hold unescaped, or a broken escape")]
    Literal,
    #[error("has a variable that is not a whole segment or is not closed")]
    Variable,
    #[error("has a variable inside a variable")]
    NestedVariable,
    #[error("has a variable whose field path is not made of identifiers")]
    FieldPath,
    #[error("binds a variable twice")]
    VariableTwice,
    #[error("has more than one **")]
    DeepTwice,
    #[error("has more segments than a request path may have")]
    TooLong,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Whatever is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let rest = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        let mut template =
            Self { text: text.to_owned(), segments: Vec::new(), verb: None, variables: Vec::new() };
        if rest.is_empty() {
            return Ok(template);
        }
        // The last colon outside braces starts the verb; inside braces there is none in the grammar.
        let (segments, verb) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains(['}', '/']) => (&rest[..colon], Some(&rest[colon + 1..])),
            _ => (rest, None),
        };
        if let Some(verb) = verb {
            if segments.is_empty() || segments.ends_with('/') || verb.is_empty() {
                return Err(TemplateError::Verb);
            }
            template.verb = Some(literal(verb)?);
        }
        template.parse_segments(segments)?;
        if template.segments.iter().filter(|segment| **segment == Segment::Deep).count() > 1 {
            return Err(TemplateError::DeepTwice);
        }
        Ok(template)
    }

    fn parse_segments(&mut self, mut rest: &str) -> Result<(), TemplateError> {
        loop {
            rest = match rest.strip_prefix('{') {
                Some(inside) => {
                    let close = inside.find('}').ok_or(TemplateError::Variable)?;
                    self.parse_variable(&inside[..close])?;
                    &inside[close + 1..]
                }
                None => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    self.push(&rest[..end])?;
                    &rest[end..]
                }
            };
            if rest.is_empty() {
                return Ok(());
            }
            rest = rest.strip_prefix('/').ok_or(TemplateError::Variable)?;
        }
    }

    /// The bound comes here and not at the end: it also bounds the variables, which are held against one another.
    fn push(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.segments.len() == super::path::SEGMENTS_MAX {
            return Err(TemplateError::TooLong);
        }
        self.segments.push(segment(text)?);
        Ok(())
    }

    fn parse_variable(&mut self, inside: &str) -> Result<(), TemplateError> {
        let (field, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
        if inside.contains('{') {
            return Err(TemplateError::NestedVariable);
        }
        if !field.split('.').all(is_identifier) {
            return Err(TemplateError::FieldPath);
        }
        if self.variables.iter().any(|variable| variable.field == field) {
            return Err(TemplateError::VariableTwice);
        }
        let start = self.segments.len();
        for part in pattern.split('/') {
            self.push(part)?;
        }
        self.variables.push(Variable { field: field.to_owned(), start, end: self.segments.len() });
        Ok(())
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The verb, decoded.
    #[must_use]
    pub fn verb(&self) -> Option<&[u8]> {
        self.verb.as_deref()
    }

    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Whether a variable takes exactly one segment, so that an escaped slash in it cannot be mistaken for a separator.
    pub(super) fn is_single(&self, variable: &Variable) -> bool {
        variable.end - variable.start == 1 && self.segments.get(variable.start) != Some(&Segment::Deep)
    }

    /// The segments of a path of `count` that a variable takes: those after a `**` are counted from the end.
    pub(super) fn range(&self, variable: &Variable, count: usize) -> (usize, usize) {
        let deep = self.segments.iter().position(|segment| *segment == Segment::Deep).unwrap_or(usize::MAX);
        let place = |index: usize| if index > deep { count + index - self.segments.len() } else { index };
        (place(variable.start), place(variable.end))
    }
}

fn segment(text: &str) -> Result<Segment, TemplateError> {
    match text {
        "" => Err(TemplateError::EmptySegment),
        "*" => Ok(Segment::Any),
        "**" => Ok(Segment::Deep),
        _ if text.contains(['{', '}']) => Err(TemplateError::Variable),
        _ => Ok(Segment::Literal(literal(text)?)),
    }
}

/// The bytes a literal stands for: `pchar` of RFC 3986 without the colon and the star, which have meanings of their own here.
fn literal(text: &str) -> Result<Vec<u8>, TemplateError> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=@%".contains(byte);
    if !text.as_bytes().iter().all(allowed) || escape::check(text).is_err() {
        return Err(TemplateError::Literal);
    }
    Ok(escape::decode_whole(text).into_owned())
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_outside_the_grammar_are_refused() {
        for (text, expect) in [
            ("a", TemplateError::NoSlash),
            ("", TemplateError::NoSlash),
            ("/a/", TemplateError::EmptySegment),
            ("//a", TemplateError::EmptySegment),
            ("/a/{b=}", TemplateError::EmptySegment),
            ("/:verb", TemplateError::Verb),
            ("/a:", TemplateError::Verb),
            ("/a/{b}:", TemplateError::Verb),
            ("/a:b:c", TemplateError::Literal),
            ("/a:b/c", TemplateError::Literal),
            ("/a*b", TemplateError::Literal),
            ("/a b", TemplateError::Literal),
            ("/a%2", TemplateError::Literal),
            ("/a{b}", TemplateError::Variable),
            ("/{b}c", TemplateError::Variable),
            ("/{b", TemplateError::Variable),
            ("/{a={b}}", TemplateError::NestedVariable),
            ("/{a.}", TemplateError::FieldPath),
            ("/{1a}", TemplateError::FieldPath),
            ("/{a}/{a}", TemplateError::VariableTwice),
            ("/**/a/**", TemplateError::DeepTwice),
        ] {
            assert_eq!(Template::parse(text).map(|template| template.text), Err(expect), "{text}");
        }
    }

    #[test]
    fn variables_after_a_deep_wildcard_are_counted_from_the_end() {
        let template = Template::parse("/a/{b=**}/{c=x/*}").unwrap();
        let [b, c] = template.variables() else { panic!("two variables") };
        assert_eq!(template.range(b, 6), (1, 4));
        assert_eq!(template.range(c, 6), (4, 6));
        assert_eq!(template.range(b, 3), (1, 1));
    }
}
