//! Compiles the foreign service of the suite, and keeps its descriptor set as the compiler wrote it.
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from("proto");
    println!("cargo:rerun-if-changed=proto");
    let out = std::env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or_else(|| anyhow::anyhow!("no output directory"))?;
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("echo/v1/echo_service.proto")?;
    std::fs::write(out.join("echo.binpb"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
