//! F8: everything that runs out is replaced under load, and nobody notices: the public certificate, the certificates of all five
//! workloads, the authority they trust (by way of both), an issuer's keys, and the edge's configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dev::Part;
use e2e::World;
use e2e::grpc::channel;
use e2e::rest::{Rest, Version, tls};
use e2e::world::{Customer, eventually, unique};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Method;
use http_body_util::Full;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::accounts::v1::BatchGetAccountsRequest;
use proto::accounts::v1::accounts_service_client::AccountsServiceClient;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use crate::KEYS;

crate::tests![f8_everything_rotates_under_load_without_a_failure];

/// The load, as far as the machine can make it: more than the 500 that are promised, because ticks are missed.
const PER_SECOND: u64 = 600;
const IN_FLIGHT_MAX: usize = 64;
/// Certificates and bundles are read every two seconds: a generation has reached everybody after this.
const SETTLED: Duration = Duration::from_millis(4_500);

/// What the load did.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
}

/// Whose requests make the load.
struct Clients<'a> {
    world: &'a World,
    customer: Customer,
    account: String,
    issued: &'a dyn Fn() -> String,
}

impl Clients<'_> {
    /// One request; what went wrong with it, if anything did.
    async fn one(&self, number: usize) -> Option<String> {
        let Self { world, customer, account, .. } = self;
        let rest = match number % 40 {
            // A handshake now and then.
            0 => &fresh(world),
            n if n % 2 == 0 => &world.rest,
            _ => &world.rest2,
        };
        let path = match number % 4 {
            0 => format!("/v1/accounts/{account}"),
            1 => format!("/v1/accounts/{account}/balance"),
            _ => format!("/v1/echo/{number}"),
        };
        // The issuer whose keys rotate vouches for every third caller that may be anybody.
        let token = if path.contains("echo") && number.is_multiple_of(3) {
            (self.issued)()
        } else {
            customer.token.clone()
        };
        let request = rest.request(Method::GET, &path).header("authorization", format!("Bearer {token}"));
        match rest.try_send(request.body(Full::default()).unwrap()).await {
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => Some(format!("{path}: {answer:?}")),
            Err(error) => Some(format!("{path}: {error}")),
        }
    }

    /// A call that leads a service back through the edge to another.
    async fn statement(&self) -> Option<String> {
        let path = format!("/v1/accounts/{}/statements", self.account);
        let now = chrono::Utc::now();
        let time =
            |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let period = json!({
            "startTime": time(now - chrono::Duration::minutes(1)), "endTime": time(now), "format": "STATEMENT_FORMAT_JSON",
        });
        match self.world.rest2.try_post(&self.customer.token, &path, &unique("rotation"), &period).await {
            Ok(answer) if answer.status.is_success() => None,
            other => Some(format!("{path}: {other:?}")),
        }
    }

    /// Keeps up the load until it is over; returns what failed.
    async fn run(&self, load: &Load) -> Vec<String> {
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / PER_SECOND));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut open, mut failed, mut number) = (FuturesUnordered::new(), Vec::new(), 0);
        while !load.over.load(Ordering::Relaxed) || !open.is_empty() {
            tokio::select! {
                Some(outcome) = open.next(), if !open.is_empty() => {
                    load.answered.fetch_add(1, Ordering::Relaxed);
                    failed.extend(outcome);
                }
                _ = ticks.tick(), if open.len() < IN_FLIGHT_MAX && !load.over.load(Ordering::Relaxed) => {
                    number += 1;
                    let request = async move {
                        if number % 100 == 0 { self.statement().await } else { self.one(number).await }
                    };
                    open.push(request);
                }
            }
        }
        failed
    }
}

fn fresh(world: &World) -> Rest {
    let authority = &world.mesh.pki().server_authority.certificate;
    Rest::new(&world.mesh.public_url(), tls(authority, None), Version::Http2)
}

/// Tells the edge to read its configuration again, with a way to the foreign service that was not there before.
async fn reconfigure(world: &World) {
    let pid = Pid::from_raw(world.mesh.pid(Part::Edge).unwrap().cast_signed());
    let path = world.mesh.folder().join("config/edge.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let methods = config["method"].as_array_mut().unwrap();
    let echo = methods
        .iter_mut()
        .find(|method| method["name"].as_str() == Some("echo.v1.EchoService/Echo"))
        .unwrap();
    let rule: toml::Table = "get = \"/v1/rotated/{text}\"".parse().unwrap();
    echo["http"].as_array_mut().unwrap().push(rule.into());
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    let there = || async {
        let request = world.rest.request(Method::GET, "/v1/rotated/way").body(Full::default()).unwrap();
        world.rest.send(request).await.status == 200
    };
    eventually("the new configuration serves", Duration::from_secs(15), there).await;
}

/// A copy of a certificate and its key from before.
fn keep(certificate: &Path, key: &Path) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (kept, kept_key) = (folder.path().join("kept.pem"), folder.path().join("kept.key"));
    std::fs::copy(certificate, &kept).unwrap();
    std::fs::copy(key, &kept_key).unwrap();
    (folder, kept, kept_key)
}

/// Whether a workload with this certificate gets in by the mesh listener.
async fn admitted(world: &World, certificate: &Path, key: &Path) -> bool {
    let authority = &world.mesh.pki().workload_authority.certificate;
    let channel =
        channel(world.mesh.ports().mesh, "edge.causeway.internal", authority, Some((certificate, key)));
    let request = BatchGetAccountsRequest { account_ids: vec![uuid::Uuid::now_v7().to_string()] };
    AccountsServiceClient::new(channel).batch_get_accounts(request).await.is_ok()
}

async fn rotate(world: &World) {
    let pki = world.mesh.pki();
    pki.reissue_public().unwrap();
    tokio::time::sleep(SETTLED).await;
    for part in Part::WORKLOADS {
        pki.issue_workload(part.name()).unwrap();
    }
    tokio::time::sleep(SETTLED).await;

    // Both authorities are trusted before anybody shows a certificate of the new one, and until nobody shows one of the old.
    let next = pki.another_workload_authority("workload-ca-next").unwrap();
    pki.trust_workloads(&[&pki.workload_authority, &next]).unwrap();
    KEYS.add("second");
    tokio::time::sleep(SETTLED).await;
    KEYS.sign_with("second");
    for part in Part::WORKLOADS {
        pki.issue_workload_by(&next, part.name()).unwrap();
    }
    reconfigure(world).await;
    tokio::time::sleep(SETTLED).await;
    pki.trust_workloads(&[&next]).unwrap();
    KEYS.remove("first");
    tokio::time::sleep(SETTLED).await;
}

async fn f8_everything_rotates_under_load_without_a_failure(world: Arc<World>) {
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 0).await;
    let old_token = KEYS.token();
    let docs = world.mesh.pki().workload(Part::Docs);
    let (_folder, old, old_key) = keep(&docs.certificate, &docs.key);
    assert!(admitted(&world, &old, &old_key).await);

    let issued = || KEYS.token();
    let clients = Clients { world: &world, customer, account, issued: &issued };
    let load = Load::default();
    let began = Instant::now();
    let rotating = async {
        rotate(&world).await;
        load.over.store(true, Ordering::Relaxed);
    };
    let (failed, ()) = futures::join!(clients.run(&load), rotating);
    let (answered, lasted) = (load.answered.load(Ordering::Relaxed), began.elapsed());
    assert!(
        failed.is_empty(),
        "{} of {answered} failed in {lasted:?}: {:#?}",
        failed.len(),
        &failed[..failed.len().min(10)]
    );
    // A machine with other work makes less of a load; with none of its own it makes what is asked.
    assert!(answered > 300, "{answered} in {lasted:?}");

    // What was replaced no longer counts.
    assert!(!admitted(&world, &old, &old_key).await, "the old authority is trusted by nobody");
    assert!(admitted(&world, &docs.certificate, &docs.key).await);
    let stale = || async { world.rest.get(&old_token, "/v1/echo/stale").await.status == 401 };
    eventually("a key that is gone vouches for nobody", Duration::from_secs(15), stale).await;
}
