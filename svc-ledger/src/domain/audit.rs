//! What a judged command leaves for the audit: who stood behind it, what it touched and what became of it. An event is written in
//! the command's own batch, once: a command that only repeats what was answered before leaves none.

use uuid::Uuid;

/// Who stands behind a command, and by which call. A command without one is the ledger's own and leaves no event.
#[derive(Clone, Debug)]
pub struct Witness {
    /// The id of the event of a refusal, made with the command: a batch that is judged again writes it under the same.
    pub id: Uuid,
    /// Call and principal, written by whoever parsed the command and read again by whoever ships the event.
    pub call: Vec<u8>,
}

/// The event of one judged command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of an accepted command that of the first row it left, so that the two lead to one another; of a refused one the witness's.
    pub id: Uuid,
    /// The command's place in its batch, and so its verdict's.
    pub place: usize,
    /// As the witness has it.
    pub call: Vec<u8>,
    /// What the command touched, as a resource name; nothing if nothing was there to touch.
    pub resource: Option<String>,
}
