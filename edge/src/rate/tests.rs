//! Limits as requests meet them, and edges that count together: several limiters in one process, each with a reporter to one
//! provider.

use std::collections::BTreeSet;

use chassis::call::{Caller, Principal, Scopes, Subject};
use http::{HeaderName, HeaderValue};
use proto::edge::v1::rate_limit_service_server::RateLimitServiceServer;

use super::*;
use buckets_of_all::SharedBuckets;

#[path = "../../tests/shared/buckets.rs"]
mod buckets_of_all;

type Transport = RateLimitServiceServer<SharedBuckets>;

/// One edge's limiter and its way to the provider.
struct Edge {
    limiter: Arc<Limiter>,
    reporter: Reporter<Transport>,
    metrics: chassis::metrics::Metrics,
}

impl Edge {
    fn new(config: &Config, provider: &SharedBuckets) -> Self {
        let metrics = chassis::metrics::Metrics::default();
        let limiter = Limiter::new(config, true, &metrics);
        let transport = RateLimitServiceServer::new(provider.clone());
        let reporter = Reporter::new(Arc::clone(&limiter), config, transport).unwrap();
        Self { limiter, reporter, metrics }
    }

    fn read(&self, who: Who) -> Result<(), Refusal> {
        self.limiter.take(RateClass::Read, who, Instant::now()).unwrap().judge()
    }

    /// How many of `requests` are let through.
    fn reads(&self, who: Who, requests: usize) -> usize {
        (0..requests).filter(|_| self.read(who).is_ok()).count()
    }
}

fn config(requests: u32, window_s: u32) -> Config {
    let read = ClassQuotas { subject: Some(Quota { requests, window_s }), ..ClassQuotas::default() };
    Config { read, ..Config::default() }
}

fn person(id: &str) -> Who {
    let subject =
        Subject { issuer: "https://issuer".into(), id: id.into(), customer_id: None, scopes: Scopes::new() };
    Who::of(&Caller { principal: Principal::Subject(subject), service: None })
}

#[test]
fn each_principal_and_each_class_has_a_bucket_of_its_own() {
    let edge = Edge::new(&config(3, 3_600), &SharedBuckets::new());
    let (alice, bob) = (person("alice"), person("bob"));
    assert_eq!(edge.reads(alice, 5), 3);
    let refused = edge.read(alice).unwrap_err();
    assert_eq!((refused.class, refused.principal, refused.scope), ("read", "subject", "local"));
    assert!(
        refused.retry_after > Duration::from_secs(1_100) && refused.retry_after <= Duration::from_secs(1_200)
    );
    assert_eq!(edge.reads(bob, 5), 3);
    let write = edge.limiter.take(RateClass::Write, alice, Instant::now()).unwrap();
    assert!(write.judge().is_ok(), "another class has not been used");
    let page = edge.metrics.render().unwrap();
    assert!(
        page.contains("edge_rate_refused_total{class=\"read\",principal=\"subject\",scope=\"local\"} 5"),
        "{page}"
    );
}

#[test]
fn other_limits_hold_from_the_next_request_on() {
    let edge = Edge::new(&config(3, 3_600), &SharedBuckets::new());
    assert_eq!(edge.reads(person("alice"), 5), 3);
    edge.limiter.adopt(&config(5, 1));
    assert!(edge.read(person("alice")).unwrap_err().retry_after <= Duration::from_millis(200));
    assert_eq!(edge.reads(person("bob"), 9), 5);
    edge.limiter.adopt(&config(0, 0));
    assert!(edge.limiter.take(RateClass::Read, person("alice"), Instant::now()).is_none());
}

#[test]
fn clients_are_told_how_they_stand() {
    let text = |standing: &Standing| {
        let mut told = Vec::new();
        let put = |name: HeaderName, value: HeaderValue| {
            told.push(format!("{name}: {}", value.to_str().unwrap()));
            Ok::<_, ()>(())
        };
        put_fields(Some(standing), put).unwrap();
        told
    };
    let edge = Edge::new(&config(100, 60), &SharedBuckets::new());
    let now = Instant::now();
    let take = || edge.limiter.take(RateClass::Read, person("alice"), now).unwrap();
    assert_eq!(text(&take()), ["ratelimit-policy: \"read\";q=100;w=60", "ratelimit: \"read\";r=99;t=1"]);
    for _ in 0..98 {
        take();
    }
    assert_eq!(text(&take())[1], "ratelimit: \"read\";r=0;t=60");
    assert_eq!(text(&take())[1], "ratelimit: \"read\";r=0;t=1", "when the next one is admitted");
    edge.limiter.adopt(&Config { fields: false, ..config(100, 60) });
    assert!(text(&take()).is_empty());
}

#[tokio::test]
async fn e11_two_edges_admit_together_what_one_bucket_holds() {
    let provider = SharedBuckets::new();
    let (mut here, mut there) =
        (Edge::new(&config(100, 60), &provider), Edge::new(&config(100, 60), &provider));
    let alice = person("alice");

    // Both have seen her; one of them lets her use what is left.
    assert_eq!((here.reads(alice, 10), there.reads(alice, 10)), (10, 10));
    assert!(here.reporter.report().await && there.reporter.report().await);
    assert!(here.reads(alice, 100) <= 91, "what the other edge had let through by then is known");
    assert!(here.reporter.report().await);

    // The other one learns it with its next report, and says whose count it was.
    assert!(there.read(alice).is_ok());
    assert!(there.reporter.report().await);
    let refused = there.read(alice).unwrap_err();
    assert_eq!(refused.scope, "shared");
    assert!(refused.retry_after <= Duration::from_secs(14), "{refused:?}");
    let page = there.metrics.render().unwrap();
    assert!(page.contains("scope=\"shared\"} 1"), "{page}");
    assert!(there.read(person("bob")).is_ok(), "it is nobody else's concern");
}

/// Two edges under a flood, each of which has let a full bucket through before it hears of the other.
#[tokio::test]
async fn e11_what_was_let_through_too_much_is_paid_back() {
    let provider = SharedBuckets::new();
    let config = config(200, 1);
    let mut edges = [Edge::new(&config, &provider), Edge::new(&config, &provider)];
    let began = Instant::now();
    let mut admitted = 0;
    while began.elapsed() < Duration::from_millis(1_400) {
        for edge in &mut edges {
            admitted += edge.reads(person("alice"), 300);
            assert!(edge.reporter.report().await);
        }
        tokio::task::yield_now().await;
    }
    // A bucket, and what came in meanwhile, and the little that is owed just now. Without the debt it would be a bucket more.
    let allowed = 200.0 + 200.0 * began.elapsed().as_secs_f64();
    assert!((admitted as f64) < allowed + 70.0, "{admitted} of {allowed}");
    assert!((admitted as f64) > allowed * 0.8, "{admitted} of {allowed}");
}

#[tokio::test]
async fn e11_without_the_provider_each_edge_counts_for_itself() {
    let provider = SharedBuckets::new();
    provider.set_away(true);
    let mut edge = Edge::new(&config(10, 3_600), &provider);
    let alice = person("alice");
    assert_eq!(edge.reads(alice, 4), 4);
    assert!(!edge.reporter.report().await);
    assert_eq!(edge.reads(alice, 20), 6, "open, up to the local limit");
    assert_eq!(edge.read(alice).unwrap_err().scope, "local");
    assert!(!edge.reporter.report().await);

    // What happened meanwhile is not told afterwards.
    provider.set_away(false);
    assert_eq!(edge.reads(person("bob"), 1), 1);
    assert!(edge.reporter.report().await);
    let told = provider.told();
    assert_eq!(told.iter().map(|request| request.takes.len()).collect::<Vec<_>>(), [1]);
    let page = edge.metrics.render().unwrap();
    assert!(page.contains("edge_rate_reported_total{result=\"lost\"} 10"), "{page}");
    assert!(page.contains("edge_rate_reported_total{result=\"counted\"} 1"), "{page}");
}

#[tokio::test]
async fn the_provider_is_told_no_name_and_the_same_by_every_edge() {
    let (provider, stranger) = (SharedBuckets::new(), SharedBuckets::new());
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "correct-horse\n").unwrap();
    let with_secret =
        Config { secret_file: Some(chassis::config::SecretFile::new(&secret)), ..config(10, 60) };
    let key_told = async |config: &Config, provider: &SharedBuckets| {
        let mut edge = Edge::new(config, provider);
        let _ = edge.read(person("alice"));
        assert!(edge.reporter.report().await);
        provider.told().last().unwrap().takes[0].key.clone()
    };
    let key = key_told(&with_secret, &provider).await;
    let hash = key.strip_prefix("read:subject:").unwrap();
    assert!(hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    assert_eq!(key_told(&with_secret, &provider).await, key);
    assert_ne!(key_told(&config(10, 60), &stranger).await, key, "nobody without the secret can make it");
}

#[tokio::test]
async fn many_principals_are_told_in_calls_of_a_hundred() {
    let provider = SharedBuckets::new();
    let mut edge = Edge::new(&config(10, 60), &provider);
    for n in 0..250 {
        assert_eq!(edge.reads(person(&n.to_string()), 2), 2);
    }
    assert!(edge.reporter.report().await);
    let told = provider.told();
    assert_eq!(told.iter().map(|request| request.takes.len()).collect::<Vec<_>>(), [100, 100, 50]);
    let keys: BTreeSet<_> = told.iter().flat_map(|request| &request.takes).map(|take| &take.key).collect();
    assert_eq!(keys.len(), 250);
    assert!(told.iter().flat_map(|request| &request.takes).all(|take| take.tokens == 2));
    assert!(edge.reporter.report().await);
    assert_eq!(provider.told().len(), 3, "nothing is told twice, and of nothing nothing is told");
}
