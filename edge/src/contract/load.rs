//! Builds a [`Contract`]: set by set, service by service, method by method, with the operator's overrides applied on the way.
//! Fails on the first thing it refuses; an override that names nothing is refused too, for it was meant to protect something.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor, ServiceDescriptor};
use proto::edge::v1 as wire;

use super::config::{DescriptorSet, HttpRule, MethodOverride, Overrides, PolicySource, ServiceOverride};
use super::options::{self, MethodOptions, RestOptions};
use super::{Contract, ContractError, Method, Route, rules};
use crate::policy::{Bounds, Policy};
use crate::route::{self, Occupied, Router};
use crate::transcode::{self, Binding, Looks, Marks, Source, Types};

/// The verb of every WebSocket handshake (RFC 6455 section 4.1).
pub const HANDSHAKE_VERB: &str = "GET";

/// A contract under construction.
pub struct Loader<'a> {
    methods: HashMap<&'a str, &'a MethodOverride>,
    services: HashMap<&'a str, &'a ServiceOverride>,
    /// Where each service was seen.
    seen: HashMap<String, PathBuf>,
    seen_methods: HashSet<String>,
    transcoding: Arc<transcode::Options>,
    contract: Contract,
}

/// The set being read.
struct Set<'a> {
    config: &'a DescriptorSet,
    types: Arc<Types>,
}

impl<'a> Loader<'a> {
    pub fn new(
        overrides: &'a Overrides,
        routing: &route::Options,
        transcoding: &transcode::Options,
    ) -> Result<Self, ContractError> {
        Ok(Self {
            methods: by_name(&overrides.methods, |method| &method.name)?,
            services: by_name(&overrides.services, |service| &service.name)?,
            seen: HashMap::new(),
            seen_methods: HashSet::new(),
            transcoding: Arc::new(transcoding.clone()),
            contract: Contract {
                methods: Vec::new(),
                descriptors: Vec::new(),
                files: Vec::new(),
                by_path: HashMap::new(),
                router: Router::new(routing.clone()),
                dialogues: Router::new(routing.clone()),
                routes: Vec::new(),
            },
        })
    }

    pub fn load(mut self, sets: &[(DescriptorSet, Vec<u8>)]) -> Result<Contract, ContractError> {
        for (config, bytes) in sets {
            let undecodable = |source| ContractError::Undecodable { path: config.path.clone(), source };
            let pool = DescriptorPool::decode(bytes.as_slice()).map_err(undecodable)?;
            let types = Types::compile(&pool)
                .map_err(|problem| ContractError::Types { path: config.path.clone(), problem })?;
            let set = Set { config, types: Arc::new(types) };
            for service in pool.services() {
                self.service(&set, &service)?;
            }
            self.contract.files.extend(pool.files());
        }
        if let Some(name) = self.services.keys().find(|name| !self.seen.contains_key(**name)) {
            return Err(ContractError::UnknownService { name: (*name).to_owned() });
        }
        if let Some(name) = self.methods.keys().find(|name| !self.seen_methods.contains(**name)) {
            return Err(ContractError::UnknownMethod { name: (*name).to_owned() });
        }
        Ok(self.contract)
    }

    fn service(&mut self, set: &Set<'_>, service: &ServiceDescriptor) -> Result<(), ContractError> {
        let name = service.full_name().to_owned();
        if let Some(first) = self.seen.insert(name.clone(), set.config.path.clone()) {
            return Err(ContractError::ServiceTwice {
                service: name,
                first,
                second: set.config.path.clone(),
            });
        }
        for method in service.methods() {
            self.method(set, &method)?;
        }
        Ok(())
    }

    fn method(&mut self, set: &Set<'_>, descriptor: &MethodDescriptor) -> Result<(), ContractError> {
        let service_name = descriptor.parent_service().full_name().to_owned();
        let rpc = format!("{service_name}/{}", descriptor.name());
        let path = &set.config.path;
        let refuse = |problem| ContractError::Method { path: path.clone(), rpc: rpc.clone(), problem };
        let override_ = self.methods.get(rpc.as_str()).copied();
        let service = self.services.get(service_name.as_str()).copied();
        self.seen_methods.insert(rpc.clone());

        let declared = options::of_method(descriptor).map_err(refuse)?;
        let streaming = descriptor.is_client_streaming() || descriptor.is_server_streaming();
        let trusted = set.config.policy_source == PolicySource::Descriptor;
        let policy = policy(override_, service, declared.policy.as_ref().filter(|_| trusted), streaming)
            .map_err(refuse)?
            .ok_or_else(|| ContractError::NoPolicy { path: path.clone(), rpc: rpc.clone() })?;
        check_bounds(&policy).map_err(refuse)?;
        let rest = override_.and_then(|override_| override_.rest.clone());
        let rest =
            rest.unwrap_or_else(|| if trusted { declared.rest.clone() } else { RestOptions::default() });
        let upstream =
            service.and_then(|service| service.upstream.as_deref()).unwrap_or(&set.config.upstream);
        let method = Arc::new(Method {
            path: format!("/{rpc}").into(),
            service: service_name.as_str().into(),
            name: descriptor.name().into(),
            upstream: upstream.into(),
            policy,
            client_streaming: descriptor.is_client_streaming(),
            server_streaming: descriptor.is_server_streaming(),
            idempotency: declared.idempotency,
            rest,
        });
        self.contract.by_path.insert(Arc::clone(&method.path), self.contract.methods.len());
        self.contract.methods.push(Arc::clone(&method));
        self.contract.descriptors.push(descriptor.clone());
        for rule in http_rules(override_, service, &declared, &method.path) {
            self.rule(set, descriptor, &method, override_, &rule)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        set: &Set<'_>,
        descriptor: &MethodDescriptor,
        method: &Arc<Method>,
        override_: Option<&MethodOverride>,
        rule: &HttpRule,
    ) -> Result<(), ContractError> {
        let refuse = |template: &str, problem: String| ContractError::Rule {
            path: set.config.path.clone(),
            rpc: rpc_name(method),
            template: template.to_owned(),
            problem,
        };
        let (input, output) = (descriptor.input(), descriptor.output());
        let request_marks = marks(&input).map_err(|problem| refuse("", problem))?;
        let response_marks = marks(&output).map_err(|problem| refuse("", problem))?;
        for flat in rules::flatten(rule).map_err(|error| refuse(&error.template, error.problem))? {
            let source = Source {
                input: input.full_name(),
                output: output.full_name(),
                client_streaming: method.client_streaming,
                server_streaming: method.server_streaming,
                http_method: &flat.http_method,
                template: &flat.template,
                body: &flat.body,
                response_body: &flat.response_body,
                looks: looks(&method.rest),
                marks: Marks {
                    request_id: request_marks.request_id.as_deref(),
                    resume_position: request_marks.resume_position.as_deref(),
                    request_etag: request_marks.etag.as_deref(),
                    response_etag: response_marks.etag.as_deref(),
                    response_position: response_marks.resume_position.as_deref(),
                },
                ignore_unknown_fields: override_
                    .and_then(|override_| override_.ignore_unknown_fields)
                    .unwrap_or(self.transcoding.ignore_unknown_fields),
            };
            let binding = Binding::compile(Arc::clone(&set.types), Arc::clone(&self.transcoding), &source)
                .map_err(|problem| refuse(flat.template.text(), problem))?;
            let target = self.contract.routes.len() as u32;
            if let Err(Occupied(other)) = self.contract.router.add(&flat.http_method, &flat.template, target)
            {
                let other = &self.contract.routes[other as usize];
                return Err(ContractError::Collision {
                    rpc: rpc_name(method),
                    template: format!("{} {}", flat.http_method, flat.template.text()),
                    other_rpc: rpc_name(&other.method),
                    other_template: other.template.text().to_owned(),
                });
            }
            if binding.is_dialogue() {
                // Two rules that differ in their verb alone are one path to a WebSocket: the first in the contract has it.
                let _ = self.contract.dialogues.add(HANDSHAKE_VERB, &flat.template, target);
            }
            self.contract.routes.push(Route {
                method: Arc::clone(method),
                binding: Arc::new(binding),
                template: flat.template,
                body: flat.body,
                response_body: flat.response_body,
            });
        }
        Ok(())
    }
}

/// The names of a message's marked fields.
#[derive(Debug, Default)]
pub struct MarkedFields {
    pub request_id: Option<String>,
    pub resume_position: Option<String>,
    pub etag: Option<String>,
}

/// Finds the marked fields of a message.
///
/// # Errors
/// When a mark stands twice, or its option cannot be read.
pub fn marks(message: &MessageDescriptor) -> Result<MarkedFields, String> {
    let mut marked = MarkedFields::default();
    for field in message.fields() {
        let options: wire::Field = options::of_field(&field)?;
        let slots = [
            (options.request_id, &mut marked.request_id, "request_id"),
            (options.resume_position, &mut marked.resume_position, "resume_position"),
            (options.etag, &mut marked.etag, "etag"),
        ];
        for (is_marked, slot, mark) in slots {
            if is_marked && slot.replace(field.name().to_owned()).is_some() {
                return Err(format!("message {} marks two fields as {mark}", message.full_name()));
            }
        }
    }
    Ok(marked)
}

fn looks(rest: &RestOptions) -> Looks<'_> {
    Looks {
        success_status: rest.success_status,
        location: &rest.location,
        update_mask_from_body: rest.update_mask_from_body,
        print_defaults: rest.print_defaults,
        print_enum_numbers: rest.print_enum_numbers,
        print_proto_names: rest.print_proto_names,
        etag: rest.etag,
    }
}

/// The method's own word, then its service's, then its descriptor's where that is trusted.
fn policy(
    method: Option<&MethodOverride>,
    service: Option<&ServiceOverride>,
    declared: Option<&wire::Policy>,
    streaming: bool,
) -> Result<Option<Policy>, String> {
    if let Some(policy) = method.and_then(|method| method.policy.as_ref()) {
        return Ok(Some(policy.to_policy(streaming)));
    }
    if let Some(declared) = declared {
        return options::policy(declared, streaming).map(Some);
    }
    Ok(service.and_then(|service| service.policy.as_ref()).map(|policy| policy.to_policy(streaming)))
}

fn check_bounds(policy: &Policy) -> Result<(), String> {
    match policy.bounds {
        Bounds::Unary { default, max } if default.is_zero() || default > max => {
            Err("policy: the default deadline must be positive and at most the maximum".into())
        }
        Bounds::Stream { idle, max_age } if idle.is_zero() || max_age.is_zero() => {
            Err("policy: the bounds of a stream must be positive".into())
        }
        Bounds::Unary { .. } | Bounds::Stream { .. } => Ok(()),
    }
}

/// The rules of a method: the operator's, else the contract's, else the automatic one where its service asks for that.
fn http_rules(
    method: Option<&MethodOverride>,
    service: Option<&ServiceOverride>,
    declared: &MethodOptions,
    path: &str,
) -> Vec<HttpRule> {
    if let Some(rules) = method.and_then(|method| method.http.clone()) {
        return rules;
    }
    match &declared.http {
        Some(rule) => vec![rule.clone()],
        None if service.is_some_and(|service| service.auto_mapping) => {
            vec![HttpRule { post: Some(path.to_owned()), body: "*".into(), ..HttpRule::default() }]
        }
        None => Vec::new(),
    }
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &String) -> Result<HashMap<&str, &T>, ContractError> {
    let mut found = HashMap::new();
    for item in items {
        if found.insert(name(item).as_str(), item).is_some() {
            return Err(ContractError::NamedTwice { name: name(item).clone() });
        }
    }
    Ok(found)
}

fn rpc_name(method: &Method) -> String {
    method.path.trim_start_matches('/').to_owned()
}
