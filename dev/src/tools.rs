//! Finds the programs that the mesh starts: on PATH, where Debian puts them, or in the repository's virtual environment. It
//! installs nothing; a missing program is one line that says what would.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The repository this binary was built from.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The first executable called `name`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(repository().join(".state/venv/bin"));
    folders.extend(debian_postgres());
    folders.into_iter().map(|folder| folder.join(name)).find(|file| executable(file))
}

/// Like [`find`], or one line that says what to do.
pub(crate) fn require(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed: run scripts/bootstrap"))
}

/// Debian keeps the server off PATH, one folder a version. The newest comes first.
fn debian_postgres() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
