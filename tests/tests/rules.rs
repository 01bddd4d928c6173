//! Rules of the house that a machine can check: which crate may know which, how long a file may be, what every file and every
//! RPC must say of itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its fixtures too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, Value};

#[path = "rules/errors.rs"]
mod errors;
#[path = "rules/rows.rs"]
mod rows;

/// Where a file stops holding one thing.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Rust files of the workspace that people wrote.
fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "node_modules") && !name.starts_with('.')
            {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 50, "the walk finds the workspace");
    found
}

#[test]
fn crates_know_only_what_they_may() {
    let ours =
        ["proto", "chassis", "edge", "svc-ledger", "svc-accounts", "svc-cache", "svc-docs", "dev", "e2e"];
    let may: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("proto", &[][..]),
        ("chassis", &[]),
        ("edge", &["chassis", "proto"]),
        ("svc-ledger", &["chassis", "proto"]),
        ("svc-accounts", &["chassis", "proto"]),
        ("svc-cache", &["chassis", "proto"]),
        ("svc-docs", &["chassis", "proto"]),
        ("dev", &["chassis", "proto"]),
        // Its benchmark measures the ledger by its Rust API too, and its tests look into the store behind the edge's back.
        ("e2e", &["chassis", "dev", "proto", "svc-ledger"]),
    ]);
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let names: BTreeSet<_> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    assert_eq!(names, ours.iter().map(|name| (*name).to_owned()).collect(), "a new crate needs a line here");
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            if ours.contains(&dependency.name.as_str()) {
                let allowed = may[package.name.as_str()].contains(&dependency.name.as_str());
                assert!(allowed, "{} may not import {}", package.name, dependency.name);
            }
        }
    }
}

#[test]
fn the_edge_knows_no_message_but_its_own() {
    for path in sources().iter().filter(|path| path.starts_with(root().join("edge/src"))) {
        let text = std::fs::read_to_string(path).unwrap();
        for foreign in
            ["proto::ledger", "proto::accounts", "proto::cache", "proto::docs", "svc-ledger", "svc_ledger"]
        {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(foreign));
            let tests = text.contains("#[cfg(test)]") || path.to_string_lossy().contains("tests");
            assert!(!code || tests, "{} names {foreign}", path.display());
        }
    }
}

#[test]
fn a_domain_is_pure() {
    for path in sources() {
        let in_domain =
            path.components().any(|part| part.as_os_str() == "domain") || path.ends_with("domain.rs");
        if !in_domain {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for impure in [
            "async fn",
            ".await",
            "proto::",
            "sqlx::",
            "mongodb::",
            "redis::",
            "aws_sdk",
            "Utc::now",
            "SystemTime::now",
            "Uuid::now_v7",
        ] {
            assert!(!code.contains(impure), "{} is domain code and uses {impure}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_holds_one_thing() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", path.display());
        let first = text.lines().next().unwrap_or_default();
        // A test module beside its subject is explained by the subject.
        let explained = first.starts_with("//!")
            || path.ends_with("tests.rs")
            || path.to_string_lossy().contains("/tests/");
        assert!(explained, "{} does not open with //!", path.display());
    }
}

#[test]
fn every_rpc_has_a_policy_a_comment_and_its_errors() {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    let policy = pool.get_extension_by_name("edge.v1.policy").unwrap();
    let mut seen = 0;
    for service in pool.services() {
        for method in service.methods() {
            seen += 1;
            let name = method.full_name().to_owned();
            let options = method.options();
            assert!(options.has_extension(&policy), "{name} has no policy");
            let options = options.get_extension(&policy).into_owned();
            let Value::Message(options) = options else { panic!("{name}: the policy is a message") };
            let streams = method.is_client_streaming() || method.is_server_streaming();
            assert_eq!(
                options.has_field_by_name("stream"),
                streams,
                "{name}: streams have bounds of streams"
            );
            assert_eq!(
                options.has_field_by_name("max_deadline"),
                !streams,
                "{name}: unary calls have deadlines"
            );
            let comment = comment_of(&method);
            assert!(
                comment.contains("Errors, in order:"),
                "{name} does not say its errors in order of precedence"
            );
        }
    }
    assert!(seen >= 25, "the walk finds the contract: {seen}");
}

#[test]
fn every_message_and_field_of_the_contract_has_a_comment() {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    for file in pool.files().filter(|file| !file.name().starts_with("google/")) {
        let info = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
        let commented: BTreeSet<&[i32]> = info
            .location
            .iter()
            .filter(|location| location.leading_comments.is_some())
            .map(|location| location.path.as_slice())
            .collect();
        for message in file.messages() {
            assert!(commented.contains(message.path()), "{} has no comment", message.full_name());
            for field in message.fields() {
                assert!(commented.contains(field.path()), "{} has no comment", field.full_name());
            }
        }
    }
}

fn comment_of(method: &prost_reflect::MethodDescriptor) -> String {
    let file = method.parent_service().parent_file();
    let info = file.file_descriptor_proto().source_code_info.clone().unwrap();
    let location = info.location.iter().find(|location| location.path == method.path());
    location.and_then(|location| location.leading_comments.clone()).unwrap_or_default()
}
