//! What the tests share: compiled schemas, contracts made of a few rules, and requests.

use std::path::PathBuf;
use std::sync::OnceLock;

use edge::contract::{
    Contract, ContractError, DescriptorSet, HttpRule, MethodOverride, Overrides, PolicyConfig, PolicySource,
    PrincipalKind, ServiceOverride,
};
use edge::route::{self, Variables};
use edge::transcode::{self, RestRequest};
use prost_reflect::DescriptorPool;

use crate::cases::{self, repository};

pub const SERVICE: &str = "edgeconf.v1.Conformance";

/// The schema of the cases, with the error details in it.
pub fn schema() -> &'static [u8] {
    static SCHEMA: OnceLock<Vec<u8>> = OnceLock::new();
    SCHEMA.get_or_init(cases::compile_schema)
}

pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(schema()).unwrap())
}

fn compile(includes: &[PathBuf], file: &str) -> Vec<u8> {
    let mut compiler = protox::Compiler::new(includes).unwrap();
    compiler.include_imports(true);
    compiler.open_file(file).unwrap();
    compiler.encode_file_descriptor_set()
}

/// A contract written on the spot.
pub fn compile_text(text: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("inline.proto"), text).unwrap();
    compile(&[directory.path().to_owned(), repository().join("proto")], "inline.proto")
}

pub fn anyone() -> PolicyConfig {
    toml::from_str("allow = [\"anonymous\"]").unwrap()
}

pub fn set(policy_source: PolicySource) -> DescriptorSet {
    DescriptorSet { path: "inline.binpb".into(), upstream: "inline".into(), policy_source }
}

/// The schema of the cases with rules for some of its methods, open to anyone.
pub fn contract(
    rules: Vec<(&str, Vec<HttpRule>)>,
    auto_mapping: bool,
    routing: &route::Options,
    transcoding: &transcode::Options,
    adjust: impl Fn(&mut MethodOverride),
) -> Result<Contract, ContractError> {
    let method = |(rpc, http): (&str, Vec<HttpRule>)| {
        let mut method = MethodOverride {
            name: rpc.to_owned(),
            http: Some(http),
            policy: None,
            rest: None,
            ignore_unknown_fields: None,
        };
        adjust(&mut method);
        method
    };
    let overrides = Overrides {
        methods: rules.into_iter().map(method).collect(),
        services: vec![ServiceOverride {
            name: SERVICE.to_owned(),
            upstream: None,
            policy: Some(anyone()),
            auto_mapping,
        }],
    };
    assert_eq!(anyone().allow, [PrincipalKind::Anonymous]);
    Contract::from_bytes(&[(set(PolicySource::Config), schema().to_vec())], &overrides, routing, transcoding)
}

/// A request with nothing but a body.
pub fn rest<'a>(variables: &'a Variables<'a>, query: Option<&'a str>, body: &'a [u8]) -> RestRequest<'a> {
    RestRequest { query, body, ..RestRequest::new(variables) }
}
