//! Why a contract cannot be loaded. Every text names the file, RPC or template at fault, because the operator who reads it at
//! start has nothing else to go by.

use std::path::PathBuf;

/// A contract that the edge refuses to serve.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    #[error("descriptor set {path}: cannot be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("descriptor set {path}: not a descriptor set with all its imports")]
    Undecodable { path: PathBuf, source: prost_reflect::DescriptorError },
    #[error("service {service}: in descriptor set {first} and in {second}")]
    ServiceTwice { service: String, first: PathBuf, second: PathBuf },
    #[error("{path}: {rpc}: no policy, neither from its descriptor set nor from [[method]] or [[service]]")]
    NoPolicy { path: PathBuf, rpc: String },
    #[error("descriptor set {path}: {problem}")]
    Types { path: PathBuf, problem: String },
    #[error("{path}: {rpc}: {problem}")]
    Method { path: PathBuf, rpc: String, problem: String },
    #[error("{path}: {rpc}: template \"{template}\": {problem}")]
    Rule { path: PathBuf, rpc: String, template: String, problem: String },
    #[error(
        "template \"{template}\" of {rpc} matches the same requests as \"{other_template}\" of {other_rpc}"
    )]
    Collision { rpc: String, template: String, other_rpc: String, other_template: String },
    #[error("[[method]] {name}: no descriptor set has such a method")]
    UnknownMethod { name: String },
    #[error("[[service]] {name}: no descriptor set has such a service")]
    UnknownService { name: String },
    #[error("[[method]] or [[service]] {name}: named twice")]
    NamedTwice { name: String },
}
