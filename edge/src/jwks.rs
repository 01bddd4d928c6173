//! The public keys of token issuers: read from a file or fetched over HTTPS, kept fresh in the background, and asked for again
//! when a token names a key nobody has seen. Fetching never happens on behalf of what a token says: `jku`, `x5u` and embedded
//! keys are not looked at, only the configured source is (RFC 8725 sections 3.1 and 3.10).
//!
//! [`key`] is one key and its arithmetic, [`set`] a key set as RFC 7517 writes it, [`source`] where a set comes from, [`keys`]
//! the set that is current.

mod fetch;
mod key;
mod keys;
mod set;
mod source;

pub use fetch::{FetchError, Fetcher};
pub use key::{Algorithm, Key};
pub use keys::{Keys, Metrics};
pub use set::Found;
pub use source::{Source, SourceError};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
