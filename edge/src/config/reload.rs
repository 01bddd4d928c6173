//! `[reload]`: when a running edge reads its configuration again. SIGHUP always makes it; looking at the files is for those who
//! cannot send signals, as a mounted ConfigMap.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[reload]`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// How often the files are looked at. A change is taken up when two looks in a row have seen it, so that a file that is being
    /// written is not read half. Zero: never, only SIGHUP.
    pub watch_ms: u64,
}

impl Default for Reload {
    fn default() -> Self {
        // As often as certificates are; hashing a few hundred kilobytes costs a thousandth of a core.
        Self { watch_ms: 2_000 }
    }
}

impl Reload {
    /// `watch_ms`, unless files are not watched.
    #[must_use]
    pub const fn watch(&self) -> Option<Duration> {
        if self.watch_ms == 0 { None } else { Some(Duration::from_millis(self.watch_ms)) }
    }
}
