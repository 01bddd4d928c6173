//! What the contract's authors wrote beside their declarations, found by file and place; and what an RPC's comment promises of
//! its errors. A set compiled without source info has no comments, and the document then has no descriptions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost_reflect::FileDescriptor;

use crate::transcode::{code_name, http_status_of};

/// The word that begins the paragraph about errors.
const ERRORS: &str = "Errors, in order:";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Comments {
    by_file: HashMap<String, HashMap<Box<[i32]>, String>>,
}

impl Comments {
    pub(super) fn of(files: &[FileDescriptor]) -> Self {
        let mut by_file = HashMap::new();
        for file in files {
            let Some(info) = &file.file_descriptor_proto().source_code_info else { continue };
            let places = by_file.entry(file.name().to_owned()).or_insert_with(HashMap::new);
            for location in &info.location {
                if let Some(text) = location.leading_comments.as_deref().map(tidy).filter(|t| !t.is_empty()) {
                    places.insert(location.path.as_slice().into(), text);
                }
            }
        }
        Self { by_file }
    }

    /// What stands above a declaration.
    pub(super) fn of_descriptor(&self, file: &FileDescriptor, path: &[i32]) -> Option<&str> {
        self.by_file.get(file.name())?.get(path).map(String::as_str)
    }
}

/// A comment without the space that follows each pair of slashes.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

/// The first sentence, on one line and without its full stop.
pub(super) fn summary(comment: &str) -> String {
    let paragraph = comment.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let sentence = paragraph.split(". ").next().unwrap_or_default();
    sentence.trim_end_matches('.').to_owned()
}

/// What the paragraph about errors says, by HTTP status. A clause counts for every gRPC code that stands in it outside
/// parentheses.
pub(super) fn errors(comment: &str) -> BTreeMap<u16, Vec<String>> {
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    let paragraph = comment.split("\n\n").find_map(|paragraph| paragraph.trim_start().strip_prefix(ERRORS));
    for clause in clauses(&paragraph.unwrap_or_default().replace('\n', " ")) {
        for status in statuses(&clause) {
            found.entry(status).or_default().push(clause.clone());
        }
    }
    found
}

/// Cuts at semicolons and full stops that stand outside parentheses.
fn clauses(text: &str) -> Vec<String> {
    let mut clauses = vec![String::new()];
    let mut depth = 0_usize;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => (),
        }
        let ends =
            depth == 0 && (letter == ';' || (letter == '.' && letters.peek().is_none_or(|c| *c == ' ')));
        match clauses.last_mut() {
            Some(clause) if !ends => clause.push(letter),
            _ => clauses.push(String::new()),
        }
    }
    clauses.iter().map(|clause| clause.trim().to_owned()).filter(|clause| !clause.is_empty()).collect()
}

/// The first gRPC code of a clause.
pub(super) fn code(clause: &str) -> Option<&'static str> {
    codes(clause).first().map(|code| code_name(*code))
}

/// The HTTP statuses of the codes in a clause.
fn statuses(clause: &str) -> BTreeSet<u16> {
    codes(clause).into_iter().map(http_status_of).collect()
}

/// The codes in a clause, those in parentheses left out.
fn codes(clause: &str) -> Vec<u32> {
    let outside = clause.split(['(', ')']).step_by(2);
    let words =
        outside.flat_map(|part| part.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_'));
    words.filter_map(|word| (1..=16).find(|code| code_name(*code) == word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_by_status() {
        let comment = "Moves money. Twice.\n\nErrors, in order: INVALID_ARGUMENT; NOT_FOUND (the account; staff only);\n\
            FAILED_PRECONDITION (NO_FUNDS, ABORTED). Staff get NOT_FOUND where\nthere is none.\n\nMore.";
        let errors = errors(comment);
        assert_eq!(errors.keys().copied().collect::<Vec<_>>(), [400, 404]);
        assert_eq!(errors[&400], ["INVALID_ARGUMENT", "FAILED_PRECONDITION (NO_FUNDS, ABORTED)"]);
        assert_eq!(
            errors[&404],
            ["NOT_FOUND (the account; staff only)", "Staff get NOT_FOUND where there is none"]
        );
        assert_eq!(summary(comment), "Moves money");
    }

    #[test]
    fn a_comment_without_errors_promises_none() {
        assert!(errors("Reads. INVALID_ARGUMENT.").is_empty());
        assert!(errors("").is_empty());
    }
}
