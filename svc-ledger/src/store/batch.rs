//! One batch against the server: [`open`] locks the head and reads what the commands concern, [`write`] writes what was judged.
//! Each is one statement, one round trip, with columns as arrays; the SQL is in the migrations.

mod memory;
mod open;
mod write;

pub(super) use memory::Memory;
pub(super) use open::open;
pub(super) use write::write;

/// A statement that ends in a call with so many parameters.
fn call(statement: &str, parameters: usize) -> String {
    let places: Vec<String> = (1..=parameters).map(|place| format!("${place}")).collect();
    format!("{statement}({})", places.join(", "))
}
