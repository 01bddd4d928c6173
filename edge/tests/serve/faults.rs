//! An endpoint of a service dies under load and comes back. What may be repeated is, within its budget, and nobody notices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;

use crate::client::{Http, Rest};
use crate::upstream;
use crate::world::World;

/// One endpoint, on threads of its own: with them go its connections, as those of a killed process.
struct Endpoint(Option<Runtime>);

impl Endpoint {
    async fn start(address: SocketAddr) -> (Self, SocketAddr) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let served = runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tonic::transport::Server::builder().add_routes(upstream::routes());
            let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
            (address, serving)
        });
        let (address, serving) = served.await.unwrap();
        runtime.spawn(serving);
        (Self(Some(runtime)), address)
    }

    fn kill(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.kill();
        }
    }
}

/// A counter of the edge, over all its labels that hold `label`.
fn counted(world: &World, name: &str, label: &str) -> u64 {
    let page = world.process.metrics.render().unwrap();
    let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_killed_under_load_costs_no_idempotent_call_and_no_storm() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let ((mut first, killed), (_second, alive)) = (Endpoint::start(any).await, Endpoint::start(any).await);
    let world = World::with(|config| {
        let (before, after) = config.split_once("name = \"svc-echo\"\n").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        format!(
            "{before}name = \"svc-echo\"\naddresses = [\"{killed}\", \"{alive}\"]\ntls = \"off\"\n{after}"
        )
    })
    .await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let calls = AtomicUsize::new(0);
    let read = async || {
        for _ in 0..50 {
            let answer = rest.get("/v1/notes/n-1").await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            calls.fetch_add(1, Ordering::SeqCst);
        }
    };
    let kill = async {
        world.until("the load runs", || calls.load(Ordering::SeqCst) > 200).await;
        first.kill();
    };
    tokio::join!(join_all((0..20).map(|_| read())), kill);
    let repeated = counted(&world, "upstream_retries_total", "outcome=\"made\"")
        + counted(&world, "upstream_moved_total", "svc-echo");
    assert!(repeated <= 100, "{repeated} of 1000 calls were repeated");

    let (_back, _) = Endpoint::start(killed).await;
    let healthy = "upstream=\"svc-echo\",state=\"healthy\"";
    world.until("it is back", || counted(&world, "upstream_endpoints", healthy) == 2).await;
    read().await;
}
