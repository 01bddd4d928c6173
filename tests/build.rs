//! Compiles the services that only the suites and the benchmarks know, and keeps their descriptor sets as the compiler wrote
//! them.
use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let out = std::env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or_else(|| anyhow::anyhow!("no output directory"))?;
    compile(&out, "echo/v1/echo_service.proto", "echo.binpb")?;
    compile(&out, "bench/v1/bench_service.proto", "bench.binpb")
}

fn compile(out: &Path, file: &str, set: &str) -> anyhow::Result<()> {
    // Google's annotations are the contract's.
    let mut compiler = protox::Compiler::new(["proto", "../proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(file)?;
    std::fs::write(out.join(set), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".echo.v1")
        .extern_path(".google.api", "::proto::google::api")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
