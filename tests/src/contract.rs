//! The contract as a test reads it: every RPC with its policy and its HTTP rules, from the descriptor set and without a line of
//! the edge's own reading of it, so that the two can disagree.

use std::collections::BTreeSet;

use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};

/// One RPC and what its options say.
pub struct Rpc {
    pub method: MethodDescriptor,
    /// The names in `allow`, without their prefix: "SUBJECT", "PARTNER", "SERVICE", "ANONYMOUS".
    pub allow: BTreeSet<String>,
    /// The scopes of which a subject needs one.
    pub any_scope: BTreeSet<String>,
    /// The workloads that may call through the mesh listener.
    pub services: BTreeSet<String>,
    /// The ways to call it over REST.
    pub rules: Vec<Rule>,
    /// Whether it promises to change nothing.
    pub reads_only: bool,
    /// Whether it counts against the rate of money: its errors say what became of the call.
    pub moves_money: bool,
}

/// One way to call an RPC over REST.
#[derive(Clone, Debug)]
pub struct Rule {
    pub verb: Method,
    pub template: String,
    /// As in `google.api.http`: empty, "*", or a field.
    pub body: String,
}

impl Rpc {
    /// `ledger.v1.LedgerService/GetBalance`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.method.parent_service().full_name(), self.method.name())
    }

    /// Whether it is for services alone, and so does not exist outside the mesh: services may call it, and it has no place in
    /// the REST API.
    #[must_use]
    pub fn services_only(&self) -> bool {
        !self.services.is_empty() && self.rules.is_empty()
    }
}

/// The whole contract.
#[must_use]
pub fn rpcs() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    methods.into_iter().map(|method| rpc(&pool, method)).collect()
}

fn rpc(pool: &DescriptorPool, method: MethodDescriptor) -> Rpc {
    let options = method.options();
    let extension = |name: &str| {
        let extension = pool.get_extension_by_name(name).unwrap();
        let value = options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned());
        value.map(|value| value.as_message().unwrap().clone())
    };
    let policy =
        extension("edge.v1.policy").unwrap_or_else(|| panic!("{} has no policy", method.full_name()));
    let kinds = pool.get_enum_by_name("edge.v1.PrincipalKind").unwrap();
    let kind = |value: &Value| {
        let kind = kinds.get_value(value.as_enum_number().unwrap()).unwrap();
        kind.name().trim_start_matches("PRINCIPAL_KIND_").to_owned()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let classes = pool.get_enum_by_name("edge.v1.RateClass").unwrap();
    let money = classes.get_value_by_name("RATE_CLASS_MONEY").map(|class| class.number());
    let level = options.get_field_by_name("idempotency_level").unwrap();
    Rpc {
        allow: list(&policy, "allow").iter().map(kind).collect(),
        any_scope: list(&policy, "any_scope").iter().map(text).collect(),
        services: list(&policy, "services").iter().map(text).collect(),
        rules: extension("google.api.http").map(|rule| rules(&rule)).unwrap_or_default(),
        // NO_SIDE_EFFECTS of google.protobuf.MethodOptions.
        reads_only: level.as_enum_number() == Some(1),
        moves_money: policy.get_field_by_name("rate_class").and_then(|class| class.as_enum_number()) == money,
        method,
    }
}

fn rules(rule: &DynamicMessage) -> Vec<Rule> {
    let text = |name: &str| rule.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
    let verbs = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let verb = verbs.into_iter().find(|(field, _)| rule.has_field_by_name(field));
    let (field, verb) = verb.unwrap_or_else(|| panic!("a rule with a verb of its own: {rule}"));
    let mut found = vec![Rule { verb, template: text(field), body: text("body") }];
    let additional = list(rule, "additional_bindings");
    found.extend(additional.iter().flat_map(|rule| rules(rule.as_message().unwrap())));
    found
}

fn list(message: &DynamicMessage, field: &str) -> Vec<Value> {
    let descriptor = message.descriptor().get_field_by_name(field).unwrap();
    message.get_field(&descriptor).as_list().unwrap().to_vec()
}
