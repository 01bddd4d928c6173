//! Entity tags: opaque, equal exactly while the record is unchanged. A digest instead of the bare revision, because a
//! record restored from a backup counts the same revisions again with other contents, at other times.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::UnixMillis;

/// The tag of one revision of a record; 16 characters, without quotes.
pub fn of(id: &[u8; 16], revision: u64, update_time: UnixMillis) -> String {
    let digest = Sha256::new()
        .chain_update(id)
        .chain_update(revision.to_be_bytes())
        .chain_update(update_time.get().to_be_bytes())
        .finalize();
    // 96 bits: two revisions of one record will not meet.
    URL_SAFE_NO_PAD.encode(&digest[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_changes_with_record_revision_and_time() {
        let now = UnixMillis::new(1_700_000_000_000);
        let tag = of(&[1; 16], 1, now);
        assert_eq!(tag.len(), 16);
        assert_eq!(tag, of(&[1; 16], 1, now));
        assert_ne!(tag, of(&[2; 16], 1, now));
        assert_ne!(tag, of(&[1; 16], 2, now));
        assert_ne!(tag, of(&[1; 16], 1, UnixMillis::new(1_700_000_000_001)));
    }
}
