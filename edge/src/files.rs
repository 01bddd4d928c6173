//! What stands in files, as one number: whether the configuration, a contract or a root certificate is still the one that was read.
//! Contents and not times, because a swapped symlink, a restored backup and a clock that was set all lie about time.

use std::path::Path;

use ring::digest::{Context, SHA256};

/// Of the contents of some files, in their order.
pub type Digest = [u8; 32];

/// Reads the files. One that cannot be read counts as such: its coming back is a change like any other.
pub fn digest<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Digest {
    let mut all = Context::new(&SHA256);
    for path in paths {
        // Each by its own digest: what moves from the end of one file to the start of the next is a change.
        let one = std::fs::read(path).map(|bytes| ring::digest::digest(&SHA256, &bytes));
        all.update(one.as_ref().map_or(&[0][..], AsRef::as_ref));
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(all.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_count_and_so_do_their_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let of = |one: &str, two: &str| {
            let (one, two) = (write("one", one), write("two", two));
            digest([one.as_path(), two.as_path()])
        };
        let (first, moved, again) = (of("ab", "c"), of("a", "bc"), of("ab", "c"));
        assert!(first != moved && first == again);
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::remove_file(&two).unwrap();
        let gone = digest([one.as_path(), two.as_path()]);
        assert!(gone != first && gone != of("ab", ""));
    }
}
