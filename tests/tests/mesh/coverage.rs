//! Who may not call what: every RPC of the contract, by gRPC and by REST, against everyone who has no right to it. Each gets the
//! documented refusal and changes nothing. The RPCs are found in the descriptor set, so a new one is covered when it is there;
//! what is refused otherwise stands in [`EXCEPTIONS`] with its reason, and an exception nobody needs fails the test too.

mod request;
mod victim;

use std::collections::BTreeSet;
use std::sync::Arc;

use dev::{Part, TokenRequest};
use e2e::World;
use e2e::contract::{Rpc, Rule, rpcs};
use e2e::door::Door;
use e2e::grpc::{channel, reason};
use e2e::rest::reason_of;
use e2e::world::CUSTOMER_SCOPES;
use http::Method;
use prost_reflect::DynamicMessage;
use tonic::Code;
use tonic::transport::Channel;
use victim::{Victim, victim};

crate::tests![e5_everyone_without_a_right_is_refused, the_right_ones_are_let_in];

/// Somebody without a right to an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// On the public listener, without credentials.
    Anonymous,
    /// The owner of it all, with every scope but those that would do.
    WrongScope,
    /// A customer with every scope of a customer; the objects are somebody else's.
    OtherCustomer,
    /// The owner who is staff too, from outside, at what is for services only.
    Outsider,
    /// A partner with its certificate and no consent.
    Partner,
    /// The same with a token of the owner, who is staff too, bound to that certificate.
    PartnerForOwner,
    /// A service the policy does not name, for itself.
    ForeignService,
    /// The same, handing on the owner, who is staff too.
    ForeignServiceForOwner,
    /// A service the policy names, handing on another customer.
    ServiceForOtherCustomer,
}

const EVERYONE: [Who; 9] = [
    Who::Anonymous,
    Who::WrongScope,
    Who::OtherCustomer,
    Who::Outsider,
    Who::Partner,
    Who::PartnerForOwner,
    Who::ForeignService,
    Who::ForeignServiceForOwner,
    Who::ServiceForOtherCustomer,
];

/// What is not refused as the rule has it, and why that is right. It may only shrink.
const EXCEPTIONS: &[(&str, Who, &str)] = &[
    (
        "accounts.v1.AccountsService/BatchGetAccounts",
        Who::ServiceForOtherCustomer,
        "a service reads accounts to judge with them whether its caller owns one",
    ),
    ("accounts.v1.AccountsService/LookupAccount", Who::OtherCustomer, PAYEES),
    ("accounts.v1.AccountsService/LookupAccount", Who::PartnerForOwner, PAYEES),
    ("cache.v1.CacheService/GetEntry", Who::ServiceForOtherCustomer, NAMESPACE),
    ("cache.v1.CacheService/SetEntry", Who::ServiceForOtherCustomer, NAMESPACE),
    ("cache.v1.CacheService/DeleteEntry", Who::ServiceForOtherCustomer, NAMESPACE),
    ("cache.v1.CacheService/BatchGetEntries", Who::ServiceForOtherCustomer, NAMESPACE),
    ("cache.v1.CacheService/AcquireLease", Who::ServiceForOtherCustomer, NAMESPACE),
    ("cache.v1.CacheService/InvalidateTags", Who::ServiceForOtherCustomer, NAMESPACE),
];
const PAYEES: &str = "whoever pays may ask who is paid; the answer is of names, and of no object";
const NAMESPACE: &str = "the entries are the calling service's own, whoever it acts for";

/// What is nobody's due answer, exception or not, as [`deviations`] writes it.
const FAULTS: [&str; 4] = ["gRPC: Internal", "gRPC: Unknown", "\"INTERNAL\"", "\"UNKNOWN\""];

/// A refusal in both languages.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    code: Code,
    reason: &'static str,
    /// Status, code name and reason.
    rest: (u16, &'static str, &'static str),
}

const fn forbidden(reason: &'static str) -> Refusal {
    Refusal { code: Code::PermissionDenied, reason, rest: (403, "PERMISSION_DENIED", reason) }
}

const UNKNOWN: Refusal =
    Refusal { code: Code::Unimplemented, reason: "UNKNOWN_METHOD", rest: (404, "NOT_FOUND", "UNKNOWN_PATH") };
const NOBODY: Refusal = Refusal {
    code: Code::Unauthenticated,
    reason: "TOKEN_MISSING",
    rest: (401, "UNAUTHENTICATED", "TOKEN_MISSING"),
};
const SCOPE: Refusal = forbidden("SCOPE_MISSING");
const NOT_YOURS: Refusal = forbidden("NOT_PERMITTED");
const NOT_ADMITTED: Refusal = forbidden("PRINCIPAL_NOT_ADMITTED");

/// How somebody must be refused; none where that is no case of this RPC.
fn refusal(rpc: &Rpc, who: Who) -> Option<Refusal> {
    let inside = !rpc.services.is_empty();
    let partners = rpc.allow.contains("PARTNER");
    match who {
        Who::Outsider => rpc.services_only().then_some(UNKNOWN),
        Who::Anonymous | Who::WrongScope | Who::OtherCustomer if rpc.services_only() => Some(UNKNOWN),
        Who::Anonymous => Some(NOBODY),
        Who::WrongScope => Some(SCOPE),
        Who::OtherCustomer if CUSTOMER_SCOPES.iter().any(|scope| rpc.any_scope.contains(*scope)) => {
            Some(NOT_YOURS)
        }
        Who::OtherCustomer => Some(SCOPE),
        Who::Partner | Who::PartnerForOwner if !partners || rpc.services_only() => Some(UNKNOWN),
        Who::Partner => Some(SCOPE),
        Who::PartnerForOwner => Some(NOT_YOURS),
        Who::ForeignService | Who::ForeignServiceForOwner if inside => Some(NOT_ADMITTED),
        Who::ForeignService | Who::ForeignServiceForOwner => Some(UNKNOWN),
        Who::ServiceForOtherCustomer if inside && rpc.allow.contains("SUBJECT") => Some(NOT_YOURS),
        Who::ServiceForOtherCustomer if inside => Some(NOT_ADMITTED),
        Who::ServiceForOtherCustomer => None,
    }
}

/// The listeners, and who is who.
struct Doors<'a> {
    world: &'a World,
    victim: &'a Victim,
    scopes: BTreeSet<String>,
    public: Channel,
    partner: Channel,
    mesh: Vec<(Part, Channel)>,
}

impl<'a> Doors<'a> {
    fn new(world: &'a World, victim: &'a Victim, rpcs: &[Rpc]) -> Self {
        let (pki, ports) = (world.mesh.pki(), world.mesh.ports());
        let authority = &pki.server_authority.certificate;
        let partner = Some((pki.partner.certificate.as_path(), pki.partner.key.as_path()));
        let services = Part::WORKLOADS.into_iter().filter(|part| *part != Part::Edge);
        Self {
            world,
            victim,
            scopes: rpcs.iter().flat_map(|rpc| rpc.any_scope.clone()).collect(),
            public: channel(ports.public, "localhost", authority, None),
            partner: channel(ports.partner, "localhost", authority, partner),
            mesh: services.map(|part| (part, world.mesh_as(part))).collect(),
        }
    }

    /// The owner of everything, with all scopes there are but `without`.
    fn owner(&self, without: &BTreeSet<String>) -> TokenRequest {
        let scopes: Vec<_> = self.scopes.difference(without).map(String::as_str).collect();
        TokenRequest::new("coverage-owner").scopes(&scopes).customer(&self.victim.customer.id)
    }

    /// Everyone who is `who` to this RPC.
    fn of(&self, rpc: &Rpc, who: Who) -> Vec<(String, Door)> {
        let all = BTreeSet::new();
        let public = Door::new(&self.public);
        let token = |request: &TokenRequest| self.world.token(request);
        let outside = match who {
            Who::Anonymous => public,
            Who::WrongScope => public.token(&token(&self.owner(&rpc.any_scope))),
            Who::OtherCustomer => public.token(&self.victim.stranger.token),
            Who::Outsider => public.token(&token(&self.owner(&all))),
            Who::Partner => Door::new(&self.partner),
            Who::PartnerForOwner => {
                let bound = self.owner(&all).bound_to(&self.world.mesh.pki().partner_thumbprint);
                Door::new(&self.partner).token(&token(&bound))
            }
            Who::ForeignService => return self.services(|name| !rpc.services.contains(name), None),
            Who::ForeignServiceForOwner => {
                let owner = subject(&self.victim.customer.id, self.scopes.iter().map(String::as_str));
                return self.services(|name| !rpc.services.contains(name), Some(&owner));
            }
            Who::ServiceForOtherCustomer => {
                let stranger = subject(&self.victim.stranger.id, CUSTOMER_SCOPES);
                return self.services(|name| rpc.services.contains(name), Some(&stranger));
            }
        };
        vec![(format!("{who:?}"), outside)]
    }

    fn services(
        &self,
        which: impl Fn(&str) -> bool,
        acting_for: Option<&chassis::Caller>,
    ) -> Vec<(String, Door)> {
        let services = self.mesh.iter().filter(|(part, _)| which(part.name()));
        let door = |(part, channel): &(Part, Channel)| {
            let door = Door::new(channel);
            let label = format!("{part}{}", if acting_for.is_some() { " for somebody" } else { "" });
            // What the edge would have given that service with a call of this caller's.
            let token = |caller| self.world.transaction_token(*part, caller);
            (label, acting_for.map_or(door.clone(), |caller| door.acting_for(token(caller))))
        };
        services.map(door).collect()
    }
}

/// A person as a service hands them on.
fn subject<'a>(customer: &str, scopes: impl IntoIterator<Item = &'a str>) -> chassis::Caller {
    let subject = chassis::Subject {
        issuer: "coverage".into(),
        id: "coverage".into(),
        customer_id: Some(customer.to_owned()),
        scopes: scopes.into_iter().map(str::to_owned).collect(),
    };
    chassis::Caller { principal: chassis::Principal::Subject(subject), service: None }
}

/// What differs from the refusal when this one calls in every way there is.
async fn deviations(
    door: &Door,
    rpc: &Rpc,
    ask: impl Fn() -> DynamicMessage,
    expect: Refusal,
) -> Vec<String> {
    let mut found = Vec::new();
    match door.grpc(rpc, &ask()).await {
        Ok(messages) => found.push(format!("gRPC: OK with {messages} messages")),
        Err(status) if (status.code(), reason(&status).as_str()) == (expect.code, expect.reason) => {}
        Err(status) => {
            found.push(format!("gRPC: {:?} {} ({})", status.code(), reason(&status), status.message()))
        }
    }
    let mut rules = rpc.rules.clone();
    if rpc.services_only() {
        let template = format!("/{}", rpc.name());
        rules.push(Rule { verb: Method::POST, template, body: "*".to_owned() });
    }
    let inside = rpc.services_only() && expect.code != Code::Unimplemented;
    for rule in rules.iter().filter(|_| !inside) {
        let answer = door.rest(rule, &ask()).await;
        let way = format!("{} {}", rule.verb, rule.template);
        if answer.status.is_success() {
            found.push(format!("{way}: {}", answer.status));
            continue;
        }
        let error = answer.json()["error"].clone();
        let got = (answer.status.as_u16(), error["status"].as_str(), reason_of(&error));
        let (status, code, reason) = expect.rest;
        // Where the path is somebody's by another verb, it is the verb that is unknown.
        let verb = (405, Some("UNIMPLEMENTED"), Some("METHOD_NOT_ALLOWED"));
        let unknown = expect.code == Code::Unimplemented && got == verb;
        if !unknown && got != (status, Some(code), Some(reason)) {
            found.push(format!("{way}: {got:?}"));
        }
    }
    found
}

async fn e5_everyone_without_a_right_is_refused(world: Arc<World>) {
    let rpcs = rpcs();
    let victim = victim(&world).await;
    let doors = Doors::new(&world, &victim, &rpcs);
    let mut before = victim.holdings(&world).await;
    let (mut problems, mut calls) = (Vec::new(), 0);
    for rpc in &rpcs {
        let name = rpc.name();
        let ask = || request::plausible(&rpc.method.input(), &victim);
        for who in EVERYONE {
            let Some(expect) = refusal(rpc, who) else { continue };
            let mut found = Vec::new();
            for (label, door) in doors.of(rpc, who) {
                calls += 1;
                let deviations = deviations(&door, rpc, ask, expect).await;
                found.extend(deviations.into_iter().map(|deviation| format!("{label}, {deviation}")));
            }
            let broken = |found: &String| FAULTS.iter().any(|fault| found.contains(fault));
            match EXCEPTIONS.iter().any(|(rpc, of, _)| (*rpc, *of) == (&name, who)) {
                true if found.is_empty() => {
                    problems.push(format!("{name}: {who:?} needs no exception: take it out"));
                }
                true => found.retain(broken),
                false => {}
            }
            problems.extend(found.iter().map(|found| {
                format!(
                    "{name}: {found}; {who:?} is to get {:?} {} or {:?}",
                    expect.code, expect.reason, expect.rest
                )
            }));
        }
        let after = victim.holdings(&world).await;
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        problems.extend(changed.map(|((path, _), _)| format!("{name}: somebody's call changed {path}")));
        before = after;
    }
    for (rpc, who, _) in EXCEPTIONS {
        assert!(
            rpcs.iter().any(|known| known.name() == *rpc),
            "{rpc} ({who:?}) is excepted and does not exist"
        );
    }
    assert!(calls >= 9 * rpcs.len(), "the walk is whole: {calls} calls of {} RPCs", rpcs.len());
    assert!(
        problems.is_empty(),
        "{} problems. A new RPC needs a policy and an ownership check; where another answer is right, say why in \
         EXCEPTIONS of {}.\n{}",
        problems.len(),
        file!(),
        problems.join("\n")
    );
}

/// The same requests, sent by somebody who may: a refusal above is for who asked, not for what was asked.
async fn the_right_ones_are_let_in(world: Arc<World>) {
    let rpcs = rpcs();
    let victim = victim(&world).await;
    let doors = Doors::new(&world, &victim, &rpcs);
    // Somebody of the bank's with every scope: no scope is asked for that nobody can have.
    let scopes: Vec<_> = doors.scopes.iter().map(String::as_str).collect();
    let staff = Door::new(&doors.public).token(&world.token(&TokenRequest::new("staff-all").scopes(&scopes)));
    let mut read = 0;
    for rpc in rpcs.iter().filter(|rpc| rpc.reads_only && !rpc.services_only()) {
        let ask = || request::plausible(&rpc.method.input(), &victim);
        let messages =
            staff.grpc(rpc, &ask()).await.unwrap_or_else(|status| panic!("{}: {status}", rpc.name()));
        assert!(messages >= 1, "{}", rpc.name());
        for rule in &rpc.rules {
            let answer = staff.rest(rule, &ask()).await;
            assert!(answer.status.is_success(), "{}: {answer:?}", rpc.name());
        }
        read += 1;
    }
    assert!(read >= 9, "the walk finds what can be read: {read}");
}
