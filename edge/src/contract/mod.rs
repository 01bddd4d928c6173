//! The contract as the edge serves it: descriptor sets read once into methods, policies and REST bindings, and looked up by
//! gRPC path or by HTTP method and path. It decides what a configuration may be and refuses the rest at load, naming file,
//! RPC and template. It holds no state and does no I/O beyond reading the files it is given.

mod config;
mod error;
mod options;

use std::sync::Arc;

pub use config::{
    CustomRule, DescriptorSet, HttpRule, MethodOverride, Overrides, PolicyConfig, PolicySource,
    PrincipalKind, RateClassName, ServiceOverride,
};
pub use error::ContractError;
pub use options::{Idempotency, RestOptions};

use crate::policy::Policy;
use crate::route::{self, Variables};
use crate::transcode::{self, Binding};

/// One RPC.
#[derive(Debug)]
pub struct Method {
    /// `/ledger.v1.LedgerService/GetBalance`.
    pub path: Arc<str>,
    /// `ledger.v1.LedgerService`.
    pub service: Arc<str>,
    /// `GetBalance`.
    pub name: Arc<str>,
    /// The `[[upstream]]` that serves it.
    pub upstream: Arc<str>,
    pub policy: Policy,
    pub client_streaming: bool,
    pub server_streaming: bool,
    pub idempotency: Idempotency,
    pub rest: RestOptions,
}

/// Every method and route of every set.
#[derive(Debug, Default)]
pub struct Contract {
    methods: Vec<Arc<Method>>,
}

/// The one method and binding that a REST request goes to.
#[derive(Debug)]
pub struct Match<'a> {
    pub method: &'a Arc<Method>,
    pub binding: &'a Arc<Binding>,
    /// The template's variables, percent-decoded, in the template's order.
    pub variables: Variables<'a>,
}

impl Contract {
    /// Reads the sets and compiles them.
    ///
    /// # Errors
    /// Whatever the edge refuses to serve, see [`ContractError`].
    pub fn load(
        _sets: &[DescriptorSet],
        _overrides: &Overrides,
        _routing: &route::Options,
        _transcoding: &transcode::Options,
    ) -> Result<Self, ContractError> {
        Ok(Self::default())
    }

    /// As [`Contract::load`], with the sets' bytes at hand.
    ///
    /// # Errors
    /// As [`Contract::load`].
    pub fn from_bytes(
        _sets: &[(DescriptorSet, Vec<u8>)],
        _overrides: &Overrides,
        _routing: &route::Options,
        _transcoding: &transcode::Options,
    ) -> Result<Self, ContractError> {
        Ok(Self::default())
    }

    /// The method that `:path` of a gRPC request names.
    #[must_use]
    pub fn by_grpc_path(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.iter().find(|method| *method.path == *path)
    }

    /// The binding of a REST request. `path` is raw, without the query. HEAD falls back to GET.
    ///
    /// # Errors
    /// Why there is none.
    pub fn route<'a>(&'a self, _verb: &http::Method, _path: &'a str) -> Result<Match<'a>, route::Refusal> {
        Err(route::Refusal::UnknownPath)
    }

    /// All methods, in the order of the sets.
    #[must_use]
    pub fn methods(&self) -> &[Arc<Method>] {
        &self.methods
    }

    /// All REST bindings, for the route table: method, HTTP method, template.
    pub fn bindings(&self) -> impl Iterator<Item = (&Arc<Method>, &Arc<Binding>)> {
        std::iter::empty()
    }
}
