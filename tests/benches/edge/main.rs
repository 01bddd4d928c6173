//! `make bench-edge`: this edge and Envoy before the same upstream, with the same certificate and the same token, in one run. Each
//! gateway has one core to itself (the processes are pinned by the Makefile), the upstream and the load share the other. Rows
//! alternate between the two, so that a noisy minute hits both; the ratio is the result. The table goes to docs/benchmarks.md by
//! hand, the rows to docs/benchmarks/edge.json.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its result"
)]

mod envoy;
mod requests;
mod upstream;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dev::{Mesh, Part, Setup, TokenRequest};
use e2e::load::{Measured, measure, resident_mib};
use serde_json::json;

use requests::{ROWS, Target};

/// How long each gateway runs each row, twice.
const RUN: Duration = Duration::from_secs(4);
/// Requests at once: enough to keep the gateway's core from waiting.
const IN_FLIGHT: usize = 64;
/// The core of the gateway under test; the Makefile puts this process on the other.
const GATEWAY_CORE: &str = "0";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = upstream::start().await;
    let toml = edge_toml(folder.path(), upstream);
    let setup = Setup::temporary(&e2e::world::binaries()).unwrap().only(&[Part::Issuer, Part::Edge]);
    let mesh = Mesh::start(setup.configure(Part::Edge, &toml).unwrap()).await.unwrap();
    let envoy = envoy::start(&mesh, folder.path(), upstream).await;
    let edge = mesh.pid(Part::Edge).unwrap();
    for pid in [edge, envoy.pid()] {
        pin(pid);
    }

    let request = TokenRequest::new("bench").scopes(&["accounts.read", "payments.write"]);
    let token = mesh.issuer().issue(&request).unwrap();
    let authority = &mesh.pki().server_authority.certificate;
    let ours = Target::new(mesh.ports().public, authority, &token);
    let theirs = Target::new(envoy.port(), authority, &token);

    println!("{:<22} {:>24} {:>24} {:>7}", "", "edge", "envoy", "CPU");
    println!("{:<22} {:>24} {:>24} {:>7}", "row", "req/s  us  p50  p99", "req/s  us  p50  p99", "ratio");
    let mut rows = Vec::new();
    for (name, make) in ROWS.into_iter().filter(|(name, _)| wanted(name)) {
        let (a, b) = (make(&ours), make(&theirs));
        let mut pairs = Vec::new();
        for _ in 0..2 {
            pairs.push((
                measure(&a, IN_FLIGHT, RUN, edge).await,
                measure(&b, IN_FLIGHT, RUN, envoy.pid()).await,
            ));
        }
        let ratio = pairs.iter().map(|(a, b)| a.cpu_us() / b.cpu_us()).sum::<f64>() / pairs.len() as f64;
        let (a, b) = pairs.pop().unwrap();
        println!("{name:<22} {:>24} {:>24} {ratio:>7.2}", cells(&a), cells(&b));
        rows.push(json!({ "row": name, "ours": figures(&a), "envoy": figures(&b), "ratio": ratio }));
    }
    println!("resident: edge {:.0} MiB, envoy {:.0} MiB", resident_mib(edge), resident_mib(envoy.pid()));
    if rows.len() < ROWS.len() {
        return;
    }
    let out = dev::repository().join("docs/benchmarks/edge.json");
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    std::fs::write(out, serde_json::to_string_pretty(&rows).unwrap() + "\n").unwrap();
}

/// All rows, or those whose names hold one of the words on the command line: to look at one under a profiler.
fn wanted(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

fn cells(m: &Measured) -> String {
    format!("{:.0}  {:.1}  {:.1}  {:.1}", m.per_second(), m.cpu_us(), m.latency_ms(0.5), m.latency_ms(0.99))
}

fn figures(m: &Measured) -> serde_json::Value {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    json!({
        "requests_per_second": m.per_second().round(),
        "cpu_us_per_request": round(m.cpu_us()),
        "p50_ms": round(m.latency_ms(0.5)),
        "p99_ms": round(m.latency_ms(0.99)),
    })
}

/// Puts every thread of a process on the gateway's core.
fn pin(pid: u32) {
    let done = Command::new("taskset").args(["-acp", GATEWAY_CORE, &pid.to_string()]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// The upstream behind our edge. Envoy is measured without an access log, so ours is off as well.
fn edge_toml(folder: &Path, port: u16) -> String {
    let set = folder.join("bench.binpb");
    std::fs::write(&set, upstream::DESCRIPTOR_SET).unwrap();
    let set = set.display();
    format!(
        r#"
access_log = {{ enabled = false }}

[[descriptor_set]]
path = "{set}"
upstream = "bench"

[[upstream]]
name = "bench"
addresses = ["127.0.0.1:{port}"]
tls = "off"
health = false

[[service]]
name = "bench.v1.BenchService"
[service.policy]
allow = ["subject"]
any_scope = ["accounts.read"]
default_deadline_ms = 15000
max_deadline_ms = 15000
stream_idle_ms = 60000
stream_max_age_ms = 600000
"#
    )
}
