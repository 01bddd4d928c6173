//! One batch against the server: [`open`] locks the head and reads what the commands concern, [`write`] writes what was judged.
//! Each is one statement, one round trip, with columns as arrays; the SQL is in the migrations.

mod open;
mod write;

pub(super) use open::open;
pub(super) use write::write;
