//! A provider of shared rate limits that keeps its buckets in this process, with the rules that svc-cache has in Redis. It can be
//! away, and it remembers what it was told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::edge::v1::rate_limit_service_server::RateLimitService;
use proto::edge::v1::{BucketTake, BucketTaken, TakeRequest, TakeResponse};
use tonic::{Request, Response, Status};

/// A clone is the same provider.
#[derive(Clone)]
pub struct SharedBuckets(Arc<State>);

struct State {
    began: Instant,
    /// When each bucket is full again, in seconds since the beginning.
    full_at: Mutex<HashMap<String, f64>>,
    told: Mutex<Vec<TakeRequest>>,
    away: AtomicBool,
}

impl SharedBuckets {
    pub fn new() -> Self {
        let began = Instant::now();
        let (full_at, told) = (Mutex::default(), Mutex::default());
        Self(Arc::new(State { began, full_at, told, away: AtomicBool::new(false) }))
    }

    /// Goes away, or comes back.
    pub fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }

    /// What it was told so far.
    pub fn told(&self) -> Vec<TakeRequest> {
        self.0.told.lock().unwrap().clone()
    }

    fn take(&self, take: &BucketTake) -> BucketTaken {
        let limit = take.limit.unwrap();
        assert!((1..=limit.burst).contains(&take.tokens) && (1..=128).contains(&take.key.len()), "{take:?}");
        let period = Duration::try_from(limit.period.unwrap()).unwrap().as_secs_f64();
        let each = period / limit.tokens_per_period as f64;
        let room = each * limit.burst as f64;
        let now = self.0.began.elapsed().as_secs_f64();
        let mut buckets = self.0.full_at.lock().unwrap();
        let full_at = buckets.entry(take.key.clone()).or_default();
        let mut ahead = (*full_at - now).clamp(0.0, room);
        let wait = ahead + each * take.tokens as f64 - room;
        let allowed = wait <= 1e-6;
        if allowed {
            ahead += each * take.tokens as f64;
            *full_at = now + ahead;
        }
        let duration = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0)).try_into().ok();
        BucketTaken {
            allowed,
            remaining: ((room - ahead + 1e-6) / each).floor() as i64,
            retry_after: duration(if allowed { 0.0 } else { wait }),
            reset_after: duration(ahead),
        }
    }
}

#[tonic::async_trait]
impl RateLimitService for SharedBuckets {
    async fn take(&self, request: Request<TakeRequest>) -> Result<Response<TakeResponse>, Status> {
        if self.0.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let request = request.into_inner();
        assert!((1..=100).contains(&request.takes.len()), "{} takes", request.takes.len());
        let taken = request.takes.iter().map(|take| Self::take(self, take)).collect();
        self.0.told.lock().unwrap().push(request);
        Ok(Response::new(TakeResponse { taken }))
    }
}
