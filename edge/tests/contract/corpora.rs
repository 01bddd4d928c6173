//! What the fuzzer found, through the functions that it calls: the corpora, which reach every branch it ever reached, and the
//! findings, each of which once broke something. `make fuzz` looks for more.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use super::cases::repository;
use super::targets;

/// Each kept input of a target by its name.
fn kept(target: &str) -> BTreeMap<String, Vec<u8>> {
    let mut inputs = BTreeMap::new();
    for collection in ["corpus", "findings"] {
        let folder = repository().join("edge/fuzz").join(collection).join(target);
        for file in std::fs::read_dir(folder).into_iter().flatten() {
            let path = file.unwrap().path();
            inputs.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    inputs
}

fn check(target: &str, run: fn(&[u8])) {
    let inputs = kept(target);
    assert!(inputs.len() > 5, "the corpus of {target} is there: {}", inputs.len());
    let fails = |input: &Vec<u8>| catch_unwind(|| run(input)).is_err();
    let failed: Vec<&String> =
        inputs.iter().filter(|(_, input)| fails(input)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{target}: {failed:#?}");
}

#[test]
fn templates_found_by_the_fuzzer_hold() {
    check("template", targets::template);
}

#[test]
fn routes_found_by_the_fuzzer_hold() {
    check("route", targets::route);
}

#[test]
fn bodies_found_by_the_fuzzer_hold() {
    check("json", targets::json);
}

#[test]
fn queries_found_by_the_fuzzer_hold() {
    check("query", targets::query);
}

#[test]
fn messages_found_by_the_fuzzer_hold() {
    check("wire", targets::wire);
}

#[test]
fn streams_found_by_the_fuzzer_hold() {
    check("split", targets::split);
}
