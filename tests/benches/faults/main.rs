//! `make bench-faults`: what callers notice when endpoints of a service are killed, stopped, slowed, flap or all go away. One edge
//! stands before three processes of this same binary, so that SIGKILL and SIGSTOP are what they are in production; a constant load
//! runs all the while. The table goes to docs/reliability.md by hand. What is measured is what the edge does about it, not how
//! fast it is: a debug build shows the same.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its result"
)]

mod fleet;
mod load;
mod scenario;
mod upstream;

use std::sync::Arc;

use dev::{Mesh, Part, Setup, TokenRequest};
use e2e::rest::{Rest, Version, tls};

use fleet::Fleet;
use load::Target;
use scenario::{SCENARIOS, Scenario};

/// How many processes serve.
const ENDPOINTS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(upstream::COMMAND), Some(port)) => runtime.block_on(upstream::serve(port.parse().unwrap())),
        _ => runtime.block_on(run()),
    }
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(ENDPOINTS).await;
    let set = folder.path().join("bench.binpb");
    std::fs::write(&set, upstream::DESCRIPTOR_SET).unwrap();
    let toml = edge_toml(&set.display().to_string(), &fleet.addresses());
    let setup = Setup::temporary(&e2e::world::binaries()).unwrap().only(&[Part::Issuer, Part::Edge]);
    let mesh = Mesh::start(setup.configure(Part::Edge, &toml).unwrap()).await.unwrap();
    let token = mesh
        .issuer()
        .issue(&TokenRequest::new("bench").scopes(&["accounts.read", "payments.write"]))
        .unwrap();
    let authority = &mesh.pki().server_authority.certificate;
    let rest = Rest::new(&mesh.public_url(), tls(authority, None), Version::Http2);
    let target = Arc::new(Target::new(rest, &token, mesh.admin_port(Part::Edge).unwrap()));

    println!(
        "| scenario | requests | failed reads | failed writes | by status | error rate | p99 before | p99 during | p99 after \
         | last error | attempts/requests |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for scenario in SCENARIOS.into_iter().filter(wanted) {
        fleet.heal().await;
        target.until_served_by(ENDPOINTS).await;
        println!("{}", scenario.run(&mut fleet, &target).await);
    }
}

/// All scenarios, or those whose names hold one of the words on the command line.
fn wanted(scenario: &Scenario) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| scenario.name().contains(&word))
}

/// The three endpoints behind the edge, with the deadline of most RPCs of the contract; all else is the default.
fn edge_toml(set: &str, addresses: &[String]) -> String {
    format!(
        r#"
access_log = {{ enabled = false }}

[listener.public]
in_flight_each_max = 2048

[[descriptor_set]]
path = "{set}"
upstream = "bench"

[[upstream]]
name = "bench"
addresses = {addresses:?}
tls = "off"

[[service]]
name = "bench.v1.BenchService"
[service.policy]
allow = ["subject"]
any_scope = ["accounts.read"]
default_deadline_ms = 5000
max_deadline_ms = 5000
stream_idle_ms = 60000
stream_max_age_ms = 600000
"#
    )
}
