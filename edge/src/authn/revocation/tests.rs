//! What the set keeps and for how long, and the watch against a provider that comes and goes.

use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use chassis::drain::Drain;
use chassis::transaction_token::Signer;
use proto::edge::v1::revocation_service_server::{RevocationService, RevocationServiceServer};
use proto::edge::v1::{Revocation, RevokeRequest, RevokeResponse, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

use super::*;
use crate::provider::Provider;
use crate::upstream::testing::upstream;

const NOW_S: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_S + seconds)
}

fn revocations(entries_max: usize) -> Arc<Revocations> {
    Arc::new(Revocations::new(entries_max, &chassis::metrics::Metrics::default()))
}

fn id(jti: &str) -> TokenId {
    TokenId::new("https://issuer", jti)
}

#[test]
fn a_revoked_token_is_revoked_and_its_neighbours_are_not() {
    let set = revocations(10);
    let (one, two) = (set.revocable(id("one")), set.revocable(id("two")));
    let elsewhere = set.revocable(TokenId::new("https://other", "one"));
    assert!(!one.is_revoked());
    set.add([(id("one"), at(600))], at(0));
    // Asked twice: the answer that is remembered is the same.
    for token in [&two, &elsewhere, &two, &elsewhere] {
        assert!(!token.is_revoked());
    }
    assert!(one.is_revoked() && one.is_revoked());
    set.add([(id("two"), at(600))], at(0));
    assert!(two.is_revoked());
    assert!(set.revocable(id("two")).is_revoked(), "a token that comes later, too");
}

#[test]
fn ids_that_join_to_the_same_text_are_two() {
    assert_ne!(TokenId::new("ab", "c"), TokenId::new("a", "bc"));
}

#[test]
fn a_revocation_is_kept_as_long_as_its_token_could_be_believed_and_no_longer() {
    let set = revocations(10);
    let token = set.revocable(id("one"));
    set.add([(id("one"), at(600)), (id("gone"), at(0) - Duration::from_secs(LEEWAY_S_MAX))], at(0));
    assert_eq!(set.metrics.entries.get(), 1);
    // Said again with less time, it is not forgotten earlier.
    set.add([(id("one"), at(5))], at(0));
    set.add([], at(600 + LEEWAY_S_MAX - 1));
    assert!(token.is_revoked());
    set.add([], at(600 + LEEWAY_S_MAX));
    assert_eq!(set.metrics.entries.get(), 0);
}

#[test]
fn a_full_set_gives_up_what_expires_first() {
    let set = revocations(2);
    set.add([(id("one"), at(500)), (id("two"), at(700)), (id("three"), at(600))], at(0));
    assert_eq!((set.metrics.entries.get(), set.metrics.dropped.get()), (2, 1));
    assert!(!set.revocable(id("one")).is_revoked());
    assert!(set.revocable(id("two")).is_revoked() && set.revocable(id("three")).is_revoked());
}

#[tokio::test]
async fn whoever_waits_for_a_revocation_hears_of_it() {
    let set = revocations(10);
    let token = set.revocable(id("one"));
    let mut waiting = Box::pin(token.revoked());
    set.add([(id("two"), at(600))], at(0));
    assert!(futures::poll!(&mut waiting).is_pending());
    set.add([(id("one"), at(600))], at(0));
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

type Told = Result<WatchResponse, Status>;

/// A provider; each watch gets a sender of its own to be fed by.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<mpsc::Sender<Told>>>>);

#[tonic::async_trait]
impl RevocationService for Service {
    async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        Ok(Response::new(RevokeResponse {}))
    }

    type WatchStream = ReceiverStream<Told>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(8);
        self.0.lock().unwrap().push(sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn told(jtis: &[&str], complete: bool) -> Told {
    let expire_time = Some(prost_types::Timestamp::from(SystemTime::now() + Duration::from_secs(600)));
    let revocations = jtis.iter().map(|jti| Revocation {
        issuer: "https://issuer".into(),
        token_id: (*jti).into(),
        expire_time,
    });
    Ok(WatchResponse { revocations: revocations.collect(), complete })
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in ten seconds: {what}");
}

#[tokio::test]
async fn a_watch_that_breaks_is_begun_anew_and_what_was_revoked_stays_revoked() {
    let drain = Drain::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service::default();
    let server = tonic::transport::Server::builder()
        .add_service(RevocationServiceServer::new(service.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    drain.spawn("provider", async move { server.await.unwrap() });

    let set = revocations(10);
    let signer = Signer::load(None, "causeway.internal", Duration::from_secs(300)).unwrap();
    let provider = Provider::new(upstream(&[address], &drain, |_| ()), &signer);
    set.follow(provider, &drain);
    let sender = async |nth: usize| {
        until("the provider is asked", || service.0.lock().unwrap().len() >= nth).await;
        service.0.lock().unwrap()[nth - 1].clone()
    };
    let first = sender(1).await;
    let (one, two) = (set.revocable(id("one")), set.revocable(id("two")));
    first.send(told(&["one"], false)).await.unwrap();
    until("the first is revoked", || one.is_revoked()).await;
    assert_eq!(set.metrics.watching.get(), 0, "not everything has been told yet");
    first.send(told(&[], true)).await.unwrap();
    until("the watch is complete", || set.metrics.watching.get() == 1).await;

    first.send(Err(Status::unavailable("going"))).await.unwrap();
    until("the break is counted", || set.metrics.breaks.get() == 1 && set.metrics.watching.get() == 0).await;
    assert!(one.is_revoked() && !two.is_revoked(), "believed as before");

    let second = sender(2).await;
    let nameless =
        Revocation { issuer: "https://issuer".into(), token_id: "three".into(), expire_time: None };
    second.send(Ok(WatchResponse { revocations: vec![nameless], complete: false })).await.unwrap();
    second.send(told(&["two"], true)).await.unwrap();
    until("the second is revoked", || two.is_revoked()).await;
    assert_eq!(set.metrics.watching.get(), 1);
    assert_eq!(set.metrics.entries.get(), 2);
    assert!(one.is_revoked(), "a new stream takes nothing back");
}
