//! Compiles the contract with protox, so that a build needs no protoc. The descriptor set is written from the compiler's own
//! bytes: a set that went through `prost_types` has lost `google.api.http` and the policy.
use std::path::PathBuf;

const FILES: &[&str] = &[
    "edge/v1/audit_service.proto",
    "edge/v1/policy.proto",
    "edge/v1/rate_limit_service.proto",
    "edge/v1/revocation_service.proto",
    "ledger/v1/journal_service.proto",
    "ledger/v1/ledger_service.proto",
    "accounts/v1/accounts_service.proto",
    "accounts/v1/payee.proto",
    "cache/v1/cache_service.proto",
    "docs/v1/docs_service.proto",
    "docs/v1/journal_head_service.proto",
];

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(
        std::env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| anyhow::anyhow!("no manifest directory"))?,
    );
    let out =
        PathBuf::from(std::env::var_os("OUT_DIR").ok_or_else(|| anyhow::anyhow!("no output directory"))?);
    for directory in ["accounts", "cache", "docs", "edge", "google", "ledger"] {
        println!("cargo:rerun-if-changed={}", root.join(directory).display());
    }

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    std::fs::write(out.join("causeway.binpb"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .build_transport(false)
        // Uploads, downloads and cached values are handed on without a copy.
        .bytes(".google.api.HttpBody.data")
        .bytes(".cache.v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
