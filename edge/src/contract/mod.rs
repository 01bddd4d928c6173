//! The contract as the edge serves it: descriptor sets read once into methods, policies and REST bindings, and looked up by
//! gRPC path or by HTTP method and path. It decides what a configuration may be and refuses the rest at load, naming file,
//! RPC and template. It holds no state and does no I/O beyond reading the files it is given. `load` builds it, `rules` reads
//! HTTP rules, `options` and `config` say what may be written where.

mod config;
mod error;
mod load;
mod options;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;

use prost_reflect::{FileDescriptor, MethodDescriptor};

pub use config::{
    CustomRule, DescriptorSet, HttpRule, MethodOverride, Overrides, PolicyConfig, PolicySource,
    PrincipalKind, RateClassName, ServiceOverride,
};
pub use error::ContractError;
pub use load::{MarkedFields, marks};
pub use options::{Idempotency, RestOptions};

use crate::policy::{Listener, Policy};
use crate::route::{self, Router, Template, Variables};
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
#[derive(Debug)]
pub struct Contract {
    methods: Vec<Arc<Method>>,
    /// What the compiler said of each of `methods`, for those who describe them.
    descriptors: Vec<MethodDescriptor>,
    /// The files of all sets, imports included.
    files: Vec<FileDescriptor>,
    /// From `/package.Service/Method` to a place in `methods`.
    by_path: HashMap<Arc<str>, usize>,
    router: Router,
    /// What a WebSocket reaches; its targets are the router's.
    dialogues: Router,
    /// By the routers' targets.
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    method: Arc<Method>,
    binding: Arc<Binding>,
    template: Template,
    body: String,
    response_body: String,
}

/// A REST binding in the words of its rule.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    pub method: &'a Arc<Method>,
    pub descriptor: &'a MethodDescriptor,
    pub binding: &'a Binding,
    pub template: &'a Template,
    /// Empty, `*` or a field path.
    pub body: &'a str,
    pub response_body: &'a str,
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
        sets: &[DescriptorSet],
        overrides: &Overrides,
        routing: &route::Options,
        transcoding: &transcode::Options,
    ) -> Result<Self, ContractError> {
        let read = |set: &DescriptorSet| match std::fs::read(&set.path) {
            Ok(bytes) => Ok((set.clone(), bytes)),
            Err(source) => Err(ContractError::Unreadable { path: set.path.clone(), source }),
        };
        let sets: Vec<_> = sets.iter().map(read).collect::<Result<_, _>>()?;
        Self::from_bytes(&sets, overrides, routing, transcoding)
    }

    /// As [`Contract::load`], with the sets' bytes at hand.
    ///
    /// # Errors
    /// As [`Contract::load`].
    pub fn from_bytes(
        sets: &[(DescriptorSet, Vec<u8>)],
        overrides: &Overrides,
        routing: &route::Options,
        transcoding: &transcode::Options,
    ) -> Result<Self, ContractError> {
        load::Loader::new(overrides, routing, transcoding)?.load(sets)
    }

    /// The method that `:path` of a gRPC request names.
    #[must_use]
    pub fn by_grpc_path(&self, path: &str) -> Option<&Arc<Method>> {
        self.by_path.get(path).map(|place| &self.methods[*place])
    }

    /// The binding of a REST request. `path` is raw, without the query. HEAD falls back to GET.
    ///
    /// # Errors
    /// Why there is none.
    pub fn route<'a>(&'a self, verb: &http::Method, path: &'a str) -> Result<Match<'a>, route::Refusal> {
        self.route_among(&self.router, verb.as_str(), path, &|_| true)
    }

    /// As [`Contract::route`], for a request that came in by a listener: methods that are not visible there do not exist.
    ///
    /// # Errors
    /// As [`Contract::route`].
    pub fn route_on<'a>(
        &'a self,
        listener: Listener,
        verb: &http::Method,
        path: &'a str,
    ) -> Result<Match<'a>, route::Refusal> {
        self.route_among(&self.router, verb.as_str(), path, &|target| self.is_visible(target, listener))
    }

    /// The binding of a WebSocket, whatever the verb of its rule: a handshake is a GET, and rules of dialogues are seldom that.
    ///
    /// # Errors
    /// As [`Contract::route`].
    pub fn route_websocket<'a>(
        &'a self,
        listener: Listener,
        path: &'a str,
    ) -> Result<Match<'a>, route::Refusal> {
        self.route_among(&self.dialogues, load::HANDSHAKE_VERB, path, &|target| {
            self.is_visible(target, listener)
        })
    }

    /// The verbs that a path answers to on a listener, as `Allow` lists them; `None` if that is every verb.
    ///
    /// # Errors
    /// As [`Contract::route`], but that no verb is wrong.
    pub fn verbs_on(&self, listener: Listener, path: &str) -> Result<Option<String>, route::Refusal> {
        // No rule is for a verb without a name, so what finds one is for all.
        match self.router.find("", path, &|target| self.is_visible(target, listener)) {
            Ok(_) => Ok(None),
            Err(route::Refusal::MethodNotAllowed { allow }) => Ok(Some(allow)),
            Err(refusal) => Err(refusal),
        }
    }

    fn is_visible(&self, target: u32, listener: Listener) -> bool {
        self.routes[target as usize].method.policy.visible_on(listener)
    }

    fn route_among<'a>(
        &'a self,
        router: &Router,
        verb: &str,
        path: &'a str,
        shows: &dyn Fn(u32) -> bool,
    ) -> Result<Match<'a>, route::Refusal> {
        let found = router.find(verb, path, shows)?;
        let route = &self.routes[found.target as usize];
        let variables = router.variables(&found, &route.template)?;
        Ok(Match { method: &route.method, binding: &route.binding, variables })
    }

    /// All methods, in the order of the sets.
    #[must_use]
    pub fn methods(&self) -> &[Arc<Method>] {
        &self.methods
    }

    /// All REST bindings, for the route table.
    pub fn bindings(&self) -> impl Iterator<Item = (&Arc<Method>, &Arc<Binding>)> {
        self.routes.iter().map(|route| (&route.method, &route.binding))
    }

    /// What the compiler said of a method.
    #[must_use]
    pub fn descriptor(&self, method: &Method) -> Option<&MethodDescriptor> {
        self.by_path.get(&method.path).map(|place| &self.descriptors[*place])
    }

    /// The files of all sets in their order, imports included; what two sets import is there twice.
    #[must_use]
    pub fn files(&self) -> &[FileDescriptor] {
        &self.files
    }

    /// All REST bindings with what they were made from.
    pub fn described(&self) -> impl Iterator<Item = Described<'_>> {
        self.routes.iter().filter_map(|route| {
            Some(Described {
                method: &route.method,
                descriptor: self.descriptor(&route.method)?,
                binding: &route.binding,
                template: &route.template,
                body: &route.body,
                response_body: &route.response_body,
            })
        })
    }
}
