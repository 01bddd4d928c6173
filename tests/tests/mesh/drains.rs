//! Processes asked to stop in the middle of work: what they have begun they finish, what they have acknowledged is there, what
//! they turn away succeeds elsewhere or later, and they exit with 0.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dev::Part;
use e2e::foreign::v1::EchoRequest;
use e2e::foreign::v1::echo_service_client::EchoServiceClient;
use e2e::world::eventually;
use e2e::{Answer, Rest, World};
use futures::future::join_all;
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::foreign::SERVICE;
use crate::ledger::crowd;

crate::tests![
    a_ledger_that_is_stopped_answers_what_it_has_begun,
    an_edge_that_is_stopped_answers_what_it_has_begun,
];

/// Longer than any drain: a process that takes as long has hung.
const GONE_WITHIN: Duration = Duration::from_secs(40);
/// A light load, spread over the stop and the start.
const TRANSFERS: usize = 600;
const IN_FLIGHT: usize = 8;
/// How much of it is answered before the stop: little, so that what is to be in flight then still is.
const BEFORE: usize = 20;

/// Asks a process to stop, as the kubelet does.
fn terminate(world: &World, part: Part) {
    let pid = world.mesh.pid(part).unwrap();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
}

/// Waits until a process has ended, which is to be with 0.
async fn ends_well(world: &World, part: Part) {
    let ended = OnceLock::new();
    let look = || async {
        world.mesh.ended().is_some_and(|(which, status)| ended.set((which, status.code())).is_ok())
    };
    eventually(&format!("{part} has exited"), GONE_WITHIN, look).await;
    assert_eq!(ended.get(), Some(&(part, Some(0))));
}

/// Waits until the load has begun to be answered.
async fn answered(count: &AtomicUsize) {
    let enough = || async { count.load(Ordering::Relaxed) >= BEFORE };
    eventually("a part of the load", Duration::from_secs(60), enough).await;
}

async fn a_ledger_that_is_stopped_answers_what_it_has_begun(world: Arc<World>) {
    const READERS: usize = 4;
    let bank = crowd(&world, 8, 10_000).await;
    let serving = async || {
        let (_, page) = world.admin(Part::Ledger, "/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix("rpc_server_calls_in_flight "));
        line.unwrap().parse::<usize>().unwrap()
    };
    eventually("the ledger is idle", Duration::from_secs(10), || async { serving().await == 0 }).await;

    // Readers that wait for what never comes, each to the end of its budget: in flight when the ledger is told to stop.
    let path = format!("/v1/accounts/{}/balance?min_seq={}", bank.account(0), i64::MAX);
    let token = format!("Bearer {}", bank.owner(0).token);
    let read = || async {
        let request = world.rest2.request(Method::GET, &path).header("authorization", &token);
        world
            .rest2
            .send(request.header("x-server-timeout", "6").body(http_body_util::Full::default()).unwrap())
            .await
    };
    let reading = join_all((0..READERS).map(|_| read()));
    let count = AtomicUsize::new(0);
    let paying = async {
        eventually("the readers wait", Duration::from_secs(5), || async { serving().await == READERS }).await;
        bank.pay(&world, TRANSFERS, IN_FLIGHT, &count).await
    };
    let stopping = async {
        answered(&count).await;
        assert!(serving().await >= READERS, "the readers still wait");
        terminate(&world, Part::Ledger);
        ends_well(&world, Part::Ledger).await;
        world.mesh.start_part(Part::Ledger).await.unwrap();
    };
    let (read, made, ()) = futures::join!(reading, paying, stopping);
    for answer in read {
        answer.refused(503, "UNAVAILABLE", "MIN_SEQ_NOT_REACHED");
    }
    bank.check_once_each(&world, &made).await;
}

/// An answer that takes its time.
async fn slow(rest: &Rest) -> Answer {
    let body = json!({ "text": "slow", "delayMs": 4_000 }).to_string();
    let request = rest.request(Method::POST, "/v1/echo").header("content-type", "application/json");
    rest.send(request.header("x-server-timeout", "10").body(body.into()).unwrap()).await
}

async fn an_edge_that_is_stopped_answers_what_it_has_begun(world: Arc<World>) {
    let bank = crowd(&world, 8, 10_000).await;
    let before = SERVICE.open();
    let (say, said) = mpsc::channel(1);
    let mut chat = EchoServiceClient::new(world.public(None))
        .chat(ReceiverStream::new(said))
        .await
        .unwrap()
        .into_inner();
    let word = EchoRequest { text: "word".into(), ..Default::default() };
    say.send(word.clone()).await.unwrap();
    assert_eq!(chat.message().await.unwrap().unwrap().text, "word");

    let answering = futures::future::join(slow(&world.rest), slow(&world.rest2));
    let count = AtomicUsize::new(0);
    let paying = async {
        // The conversation and the two slow answers.
        eventually("they have begun", Duration::from_secs(3), || async { SERVICE.open() >= before + 3 })
            .await;
        bank.pay(&world, TRANSFERS, IN_FLIGHT, &count).await
    };
    let stopping = async {
        answered(&count).await;
        assert!(SERVICE.open() >= before + 3, "the slow answers are still to come");
        terminate(&world, Part::Edge);
        let port = world.mesh.ports().public;
        let closed = || async { TcpStream::connect(("127.0.0.1", port)).await.is_err() };
        eventually("nobody gets in any more", Duration::from_secs(10), closed).await;
        // A stream that was there goes on, for as long as the drain lasts.
        say.send(word).await.unwrap();
        assert_eq!(chat.message().await.unwrap().unwrap().text, "word");
        drop(say);
        assert!(chat.message().await.unwrap().is_none(), "it ends as streams do");
        ends_well(&world, Part::Edge).await;
        world.mesh.start_part(Part::Edge).await.unwrap();
    };
    let ((first, second), made, ()) = futures::join!(answering, paying, stopping);
    for answer in [first, second] {
        assert_eq!(answer.ok()["text"], "slow");
    }
    bank.check_once_each(&world, &made).await;
}
