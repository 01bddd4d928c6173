//! Every row of the security cases, A1 to F9, has a test that says so in its name, or stands in docs/security.md with the reason
//! why it has none.

use std::collections::{BTreeMap, BTreeSet};

use super::{root, sources};

/// How many rows each group has.
const GROUPS: [(char, u32); 6] = [('a', 17), ('b', 11), ('c', 9), ('d', 7), ('e', 13), ('f', 9)];

/// The heading of the rows without a test.
const WITHOUT: &str = "### Rows without a test";

/// The rows that a name begins with: "a1_a2_forged_tokens" is about two.
fn rows(name: &str) -> impl Iterator<Item = &str> {
    let is_row = |word: &&str| {
        let (group, number) = word.split_at_checked(1).unwrap_or_default();
        GROUPS.iter().any(|(letter, last)| {
            group.starts_with(*letter)
                && number.parse::<u32>().is_ok_and(|number| (1..=*last).contains(&number))
        })
    };
    name.split('_').take_while(is_row)
}

/// The tests of each row. A name that says only its row is no test but a step of one.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let functions = text.lines().filter_map(|line| line.trim_start().split_once("fn "));
        let names = functions.filter(|(before, _)| matches!(before.trim(), "" | "async"));
        for (_, rest) in names {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            for row in rows(name) {
                found.entry(row.to_owned()).or_default().insert(name.to_owned());
            }
        }
    }
    found
}

/// The rows that docs/security.md lists as without a test, each with a reason.
fn without() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, section) =
        text.split_once(WITHOUT).unwrap_or_else(|| panic!("docs/security.md has no {WITHOUT:?}"));
    let section = section.split("\n#").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let row = cells.map(|(row, reason)| (row.to_lowercase(), reason.trim_end_matches(['|', ' ']).to_owned()));
    row.filter(|(row, _)| rows(row).next().is_some()).collect()
}

#[test]
fn every_row_of_the_security_cases_has_a_test_or_a_reason() {
    let (tests, without) = (tests(), without());
    let mut wrong = Vec::new();
    for (group, last) in GROUPS {
        for number in 1..=last {
            let row = format!("{group}{number}");
            match (tests.get(&row), without.get(&row)) {
                (None, None) => wrong.push(format!("{row} has no test whose name begins with {row}_")),
                (Some(names), Some(_)) => {
                    wrong.push(format!("{row} has tests, take it out of {WITHOUT:?}: {names:?}"));
                }
                (None, Some(reason)) if reason.len() < 20 => {
                    wrong.push(format!("{row}: {reason:?} is no reason"))
                }
                (Some(_), None) | (None, Some(_)) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn docs_security_names_the_tests_there_are() {
    let tests: BTreeSet<_> = tests().into_values().flatten().collect();
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let named =
        text.split('`').skip(1).step_by(2).filter(|word| word.len() > 10 && rows(word).next().is_some());
    let gone: Vec<_> = named.filter(|name| !tests.contains(*name)).collect();
    assert!(gone.is_empty(), "docs/security.md names tests that are not there: {gone:?}");
}
