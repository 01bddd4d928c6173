//! What the edge answers itself instead of handing it on: the contract as an OpenAPI document, a page for people to read it, and
//! gRPC reflection. Everything is made once from the contract a snapshot serves and is shared from then on. Pure: who writes the
//! answers to sockets is `gateway`; whether a caller may see them is said here, by the configuration.

mod config;
mod docs;
pub mod openapi;
mod reflection;

use std::sync::Arc;

use bytes::Bytes;

pub use config::{Access, Config};
pub use reflection::{Reflection, View};

use crate::contract::Contract;
use crate::transcode::Options;

/// Where the document stands.
pub const OPENAPI: &str = "/openapi.json";

/// Everything built in, as far as the configuration has it.
#[derive(Debug)]
pub struct Builtin {
    pages: Vec<Page>,
    reflection: Option<Reflection>,
}

/// An answer that is the same for everyone who may have it.
#[derive(Debug)]
pub struct Page {
    /// The whole path.
    pub path: Arc<str>,
    pub content_type: &'static str,
    /// Quoted.
    pub etag: String,
    pub body: Bytes,
    /// What the page may load, for pages that load something.
    pub content_security_policy: Option<&'static str>,
    pub access: Access,
}

impl Builtin {
    /// Makes what `config` asks for.
    ///
    /// # Errors
    /// When a route of the contract stands where one of the pages would.
    pub fn new(config: &Config, contract: &Contract, options: &Options) -> anyhow::Result<Self> {
        let mut pages = Vec::new();
        if config.openapi.enabled {
            let document = openapi::document(contract, &config.title, options).to_string();
            pages.push(Page::new(OPENAPI, "application/json", document.into(), &config.openapi));
        }
        if config.docs.enabled {
            anyhow::ensure!(config.openapi.enabled, "builtin.docs shows what builtin.openapi has to serve");
            pages.extend(docs::pages(&config.docs));
        }
        for page in &pages {
            let taken = contract.bindings().find(|(_, binding)| binding.template() == &page.path);
            if let Some((method, _)) = taken {
                anyhow::bail!("{} has the path {}, which is built in: see [builtin]", method.path, page.path);
            }
        }
        let reflection = config.reflection.enabled.then(|| Reflection::new(contract, &config.reflection));
        Ok(Self { pages, reflection })
    }

    /// The page at a path.
    #[must_use]
    pub fn page(&self, path: &str) -> Option<&Page> {
        // A handful of texts of different lengths: comparing them costs less than hashing one.
        self.pages.iter().find(|page| *page.path == *path)
    }

    /// The reflection that a `:path` asks for, and that path.
    #[must_use]
    pub fn reflection(&self, path: &str) -> Option<(&Reflection, &'static str)> {
        let path = reflection::PATHS.into_iter().find(|own| *own == path)?;
        Some((self.reflection.as_ref()?, path))
    }
}

impl Page {
    fn new(path: &str, content_type: &'static str, body: Bytes, access: &Access) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &body);
        let tag: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            path: path.into(),
            content_type,
            etag: format!("\"{tag}\""),
            body,
            content_security_policy: None,
            access: access.clone(),
        }
    }

    /// Whether an `If-None-Match` names what the client would get again. Weak tags count: RFC 9110 section 13.1.2.
    #[must_use]
    pub fn is_known(&self, if_none_match: &str) -> bool {
        let tags = if_none_match.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        tags.into_iter().any(|tag| tag == "*" || tag == self.etag)
    }
}

#[cfg(test)]
mod tests;
