//! `docs/errors.md` lists every reason a client can meet: no more and no fewer than the code gives, each in the words of its
//! kind.

use std::collections::{BTreeMap, BTreeSet};

use chassis::error::Kind;
use chassis::metrics::code_name;

use super::{root, sources};

const KINDS: [Kind; 11] = [
    Kind::Invalid,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::Exists,
    Kind::Precondition,
    Kind::Conflict,
    Kind::Exhausted,
    Kind::Unavailable,
    Kind::Timeout,
    Kind::Internal,
];

/// The tables of the document: by domain, the first four cells of each row.
fn documented() -> BTreeMap<String, Vec<[String; 4]>> {
    let text = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let mut tables: BTreeMap<String, Vec<[String; 4]>> = BTreeMap::new();
    let mut domain = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut domain);
        }
        let Some(row) = line.strip_prefix("| ").filter(|row| !row.starts_with("reason ")) else { continue };
        let mut cells = row.split(" | ").map(str::to_owned);
        tables.entry(domain.clone()).or_default().push(std::array::from_fn(|_| cells.next().unwrap()));
    }
    tables
}

/// The reasons in the code, by domain: what a file that implements `Failure` writes in capitals between quotes.
fn given() -> BTreeMap<String, BTreeSet<String>> {
    let mut reasons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources().iter().filter(|path| path.components().any(|part| part.as_os_str() == "src")) {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let Some((_, rest)) = code.split_once("const DOMAIN: &'static str = \"") else { continue };
        let (domain, _) = rest.split_once('"').unwrap();
        let literals = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| line.split('"').skip(1).step_by(2));
        let capitals = |word: &&str| {
            word.starts_with(|first: char| first.is_ascii_uppercase())
                && word.len() > 2
                && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        };
        reasons.entry(domain.to_owned()).or_default().extend(literals.filter(capitals).map(str::to_owned));
    }
    reasons
}

#[test]
fn every_reason_is_documented_and_no_other() {
    let mut documented = documented();
    documented.remove("Kinds");
    let documented: BTreeMap<String, BTreeSet<String>> = documented
        .into_iter()
        .map(|(domain, rows)| (domain, rows.into_iter().map(|[reason, ..]| reason).collect()))
        .collect();
    assert_eq!(documented, given());
}

#[test]
fn a_documented_kind_means_what_it_means_everywhere() {
    let mut documented = documented();
    let words =
        KINDS.map(|kind| (format!("{kind:?}"), code_name(kind.code()), kind.http_status().to_string()));
    let kinds: Vec<_> = documented
        .remove("Kinds")
        .unwrap()
        .into_iter()
        .skip(1)
        .map(|[kind, grpc, http, _]| (kind, grpc, http))
        .collect();
    assert_eq!(kinds, words.clone().map(|(kind, grpc, http)| (kind, grpc.to_owned(), http)));
    // The edge has its own words for some; its tests compare them with its code.
    documented.remove("edge.v1");
    for (domain, rows) in documented {
        for [reason, kind, grpc, http] in rows {
            let known =
                words.iter().any(|(name, code, status)| (name, *code, status) == (&kind, &*grpc, &http));
            assert!(known, "{domain} {reason}: {kind} is not {grpc} and {http}");
        }
    }
}
