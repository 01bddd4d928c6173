//! The configuration a request is served by, from its first byte to its last: the contract and the bounds. Built whole or not at
//! all, then shared and never changed. Sockets, upstreams and key sets live longer and are not part of it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use http::uri::PathAndQuery;

use crate::builtin::Builtin;
use crate::config::{Config, Limits};
use crate::contract::{Contract, Method, Overrides};
use crate::cors::Cors;
use crate::headers::Pass;

/// See the module.
#[derive(Debug)]
pub struct Snapshot {
    /// What can be called, and how.
    pub contract: Contract,
    /// What the edge answers itself.
    pub builtin: Builtin,
    /// The bounds of every request.
    pub limits: Limits,
    /// The request headers let through to services.
    pub request_headers: Pass,
    /// The response headers of services let through to REST.
    pub response_headers: Pass,
    /// Whether browsers are told to come by TLS only.
    pub hsts: bool,
    /// Which pages of other origins may call.
    pub cors: Cors,
    paths: HashMap<Arc<str>, PathAndQuery>,
}

impl Snapshot {
    /// Reads the descriptor sets that `config` names and compiles them.
    ///
    /// # Errors
    /// One line naming the file, RPC, template or key at fault.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let overrides = Overrides { methods: config.method.clone(), services: config.service.clone() };
        let contract =
            Contract::load(&config.descriptor_set, &overrides, &config.routing, &config.transcoding)?;
        for method in contract.methods() {
            let known = config.upstream.iter().any(|upstream| *upstream.name == *method.upstream);
            anyhow::ensure!(known, "{}: there is no [[upstream]] named {:?}", method.path, method.upstream);
        }
        let paths = contract
            .methods()
            .iter()
            .map(|method| Ok((Arc::clone(&method.path), PathAndQuery::try_from(&*method.path)?)))
            .collect::<Result<_, http::uri::InvalidUri>>()
            .context("a method's name is no path")?;
        let builtin = Builtin::new(&config.builtin, &contract, &config.transcoding).context("[builtin]")?;
        Ok(Self {
            contract,
            builtin,
            limits: config.limits.clone(),
            request_headers: Pass::new(&config.headers.request)
                .context("headers.request")?
                .with_gateway_names(config.transcoding.grpc_gateway),
            response_headers: Pass::new(&config.headers.response).context("headers.response")?,
            hsts: config.listener.public.as_ref().is_some_and(|public| public.hsts),
            cors: Cors::new(&config.cors).context("[[cors]]")?,
            paths,
        })
    }

    /// The `:path` of a method, parsed once.
    #[must_use]
    pub fn path(&self, method: &Method) -> Option<&PathAndQuery> {
        self.paths.get(&method.path)
    }
}
