//! Where time and ids come from. The domain takes both as arguments; the RPCs and the saga fetch them here.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::domain::UnixMillis;

/// The time of day.
pub fn now() -> UnixMillis {
    // Before 1970 there was no account: a clock that says so is broken, and zero is as good as anything it says.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A new id. Ids of one process are in the order they were made.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
