//! The folder a mesh lives in: keys, passwords, generated configuration, logs, pid records and the stores' files. One mesh at a
//! time uses a folder; a lock that dies with the process says which.

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A state folder that this process has to itself.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
    _lock: Flock<File>,
}

impl State {
    /// Creates what is missing below `root` and locks it. Fails when another process has it.
    pub fn open(root: &Path) -> Result<Self> {
        // PostgreSQL runs as a user of its own under root and must pass through to its data: search permission, no listing.
        create(root, 0o711)?;
        let root = root.canonicalize().with_context(|| format!("cannot resolve {}", root.display()))?;
        let lock = lock(&root)?;
        create(&root.join("stores"), 0o711)?;
        for folder in ["pki", "secrets", "config", "log", "run", "issuer"] {
            create(&root.join(folder), 0o700)?;
        }
        Ok(Self { root, _lock: lock })
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Certificates and keys.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// One secret a file.
    #[must_use]
    pub fn secret(&self, name: &str) -> PathBuf {
        self.root.join("secrets").join(name)
    }

    /// Generated configuration.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.root.join("config").join(name)
    }

    /// Standard output and standard error of a process.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    /// Puts the logs of the run before aside, under names that end in `.1`, so that two runs are what there is to read and the
    /// folder does not grow for ever.
    pub fn rotate_logs(&self) -> Result<()> {
        let folder = self.root.join("log");
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let before = path.with_extension("log.1");
                fs::rename(&path, &before).with_context(|| format!("cannot rename {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Pid records of running processes.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// What the token issuer keeps.
    #[must_use]
    pub fn issuer(&self, name: &str) -> PathBuf {
        self.root.join("issuer").join(name)
    }

    /// The files of a store.
    #[must_use]
    pub fn store(&self, name: &str) -> PathBuf {
        self.root.join("stores").join(name)
    }
}

fn lock(root: &Path) -> Result<Flock<File>> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            bail!("another mesh is running from {}: stop it first", root.display())
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Creates a folder and its parents; the mode is the folder's own, whatever the umask.
pub(crate) fn create(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the permissions of {}", path.display()))
}

/// Writes a whole file or nothing: the content goes to a neighbour that then takes the name. Only the owner may read it.
pub(crate) fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(content.as_ref())?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The file's text, or the one `make` gives, written first. What is made once here stays the same over restarts.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make()?;
            write_private(path, &text)?;
            Ok(text)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_mesh_in_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).unwrap();
        let refusal = State::open(folder.path()).unwrap_err().to_string();
        assert!(refusal.starts_with("another mesh is running from"), "{refusal}");
        drop(first);
        State::open(folder.path()).unwrap();
    }

    #[test]
    fn logs_of_the_last_two_runs_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        for run in ["one", "two", "three"] {
            state.rotate_logs().unwrap();
            fs::write(state.log("edge"), run).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join("log").join(name)).unwrap();
        assert_eq!((read("edge.log").as_str(), read("edge.log.1").as_str()), ("three", "two"));
    }

    #[test]
    fn secrets_are_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let first = read_or_create(&path, || Ok("one".to_owned())).unwrap();
        let second = read_or_create(&path, || Ok("two".to_owned())).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("one", "one"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
