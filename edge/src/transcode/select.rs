//! `$fields`: which part of an answer a client wants, as a list of field paths in the manner of a FieldMask. Compiled once a
//! request into a tree of places that the printer follows, so that what is not wanted is not printed in the first place.
//!
//! A path goes through lists to each element, and behind a map to the fields of each of its values: keys are not named. It
//! cannot go into what has no fields in JSON: scalars, and types such as Timestamp, Struct or Any.

use super::types::{Field, FieldId, Form, Kind, MessageId, Shape, Types};
use super::{RequestError, Violation};

/// More paths than this name nearly everything one by one.
const PATHS_MAX: usize = 100;
/// Paths may follow a type that holds itself, but not for ever.
const DEPTH_MAX: usize = 16;

/// The fields that are wanted of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Sorted by place, and what is wanted of each; `None`: all of it.
    pub(super) fields: Vec<(FieldId, Option<Selection>)>,
}

impl Selection {
    /// Compiles the value of a parameter against what is printed: `root` is the message of it, of its elements or of its values,
    /// `None` where it is none. The result is `None` where everything is wanted.
    pub(super) fn compile(
        types: &Types,
        root: Option<MessageId>,
        parameter: &str,
        value: &str,
    ) -> Result<Option<Self>, RequestError> {
        if value.is_empty() || value == "*" {
            return Ok(None);
        }
        let violation = |description| Violation { field: parameter.to_owned(), description };
        let mut selection = Self::default();
        let mut violations = Vec::new();
        let root = root.filter(|root| types.message(*root).form == Form::Object);
        for (index, path) in value.split(',').enumerate() {
            if index == PATHS_MAX {
                violations.push(violation(format!("has more than {PATHS_MAX} paths")));
                break;
            }
            match resolve(types, root, path) {
                Ok(places) => selection.add(&places),
                Err(problem) => violations.push(violation(format!("\"{path}\" {problem}"))),
            }
        }
        if violations.is_empty() { Ok(Some(selection)) } else { Err(RequestError::Invalid { violations }) }
    }

    /// Adds a path. What is wanted whole stays whole.
    fn add(&mut self, path: &[FieldId]) {
        let Some((place, rest)) = path.split_first() else { return };
        match self.fields.binary_search_by_key(place, |(place, _)| *place) {
            Ok(position) => match (&mut self.fields[position].1, rest) {
                (None, _) => (),
                (whole, []) => *whole = None,
                (Some(below), rest) => below.add(rest),
            },
            Err(position) => {
                let below = (!rest.is_empty()).then(|| {
                    let mut below = Self::default();
                    below.add(rest);
                    below
                });
                self.fields.insert(position, (*place, below));
            }
        }
    }
}

/// The message whose fields a path names behind a field, if it has any.
pub(super) fn behind(types: &Types, field: &Field) -> Option<MessageId> {
    let message = match (field.shape, field.kind) {
        (Shape::Map, Kind::Message(entry)) => types.message(entry).field(1).kind.message(),
        (Shape::Map | Shape::Singular | Shape::Repeated { .. }, kind) => kind.message(),
    };
    message.filter(|message| types.message(*message).form == Form::Object)
}

/// A path in either spelling as places.
fn resolve(types: &Types, root: Option<MessageId>, path: &str) -> Result<Vec<FieldId>, &'static str> {
    let mut at = root;
    let mut places = Vec::new();
    for name in path.split('.') {
        if places.len() == DEPTH_MAX {
            return Err("is too deep");
        }
        let message = at.ok_or("goes into a value that has no fields")?;
        let plan = types.message(message);
        let place = plan.by_key(name.as_bytes(), 0).ok_or("is not a field of the answer")?;
        places.push(place);
        at = behind(types, plan.field(place));
    }
    Ok(places)
}
