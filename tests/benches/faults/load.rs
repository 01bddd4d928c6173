//! A constant load: so many requests a second whatever becomes of them, as many callers who know nothing of one another make. Two
//! of three are reads that the contract calls free of side effects, the third is a write that it does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::rest::Rest;
use e2e::world::eventually;
use http::Method;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Requests a second.
pub const RATE: u32 = 300;

const READ: &str = "/v1/bench/a/entries/b";
const WRITE: &str = "/v1/bench/entries";

/// The edge as a caller sees it.
pub struct Target {
    rest: Rest,
    authorization: String,
    metrics: http::Uri,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was due and when it ended, from the beginning of the load.
    pub at: Duration,
    pub ended: Duration,
    pub write: bool,
    /// The HTTP status; 0 if there was no answer.
    pub status: u16,
}

impl Sample {
    pub const fn is_ok(&self) -> bool {
        self.status == 200
    }
}

impl Target {
    pub fn new(rest: Rest, token: &str, admin_port: u16) -> Self {
        let metrics = format!("http://127.0.0.1:{admin_port}/metrics").parse().unwrap();
        Self { rest, authorization: format!("Bearer {token}"), metrics }
    }

    /// Requests from `begun` until `time` has passed; returns when the last has its answer.
    pub async fn load(self: &Arc<Self>, begun: Instant, time: Duration) -> Vec<Sample> {
        let mut requests = JoinSet::new();
        for number in 0.. {
            let at = Duration::from_secs(1) * number / RATE;
            if at >= time {
                break;
            }
            sleep_until(begun + at).await;
            let target = Arc::clone(self);
            requests.spawn(async move {
                let write = number % 3 == 2;
                let status = target.request(write).await;
                Sample { at, ended: begun.elapsed(), write, status }
            });
        }
        requests.join_all().await
    }

    async fn request(&self, write: bool) -> u16 {
        let (method, path) = if write { (Method::POST, WRITE) } else { (Method::GET, READ) };
        let body = if write { json!({ "entry": { "amount": "7" } }).to_string() } else { String::new() };
        let mut request = self.rest.request(method, path).header("authorization", &self.authorization);
        if write {
            request = request.header("content-type", "application/json");
        }
        let answer = self.rest.try_send(request.body(Full::from(body)).unwrap()).await;
        answer.map_or(0, |answer| answer.status.as_u16())
    }

    /// The sum of all samples of a metric whose lines begin with `name` and hold `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let page = client.get(self.metrics.clone()).await.unwrap().into_body().collect().await.unwrap();
        let page = String::from_utf8(page.to_bytes().to_vec()).unwrap();
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the edge holds all endpoints for fit.
    pub async fn until_served_by(&self, endpoints: usize) {
        let fit = || async {
            let label = "upstream=\"bench\",state=\"healthy\"";
            let fit = self.metric("upstream_endpoints{", label).await;
            (fit - endpoints as f64).abs() < f64::EPSILON && self.request(false).await == 200
        };
        eventually("all endpoints are fit", Duration::from_secs(60), fit).await;
    }
}
