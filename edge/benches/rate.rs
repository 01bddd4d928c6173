//! What counting a request costs: one principal again and again, ten thousand in turn, and what a client is told of it.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up has nothing to say")]

use std::hint::black_box;
use std::time::Instant;

use chassis::metrics::Metrics;
use criterion::{Criterion, criterion_group, criterion_main};
use edge::policy::RateClass;
use edge::rate::{Config, Limiter, Who, put_fields};
use http::HeaderMap;

/// Addresses, because they are made without a token; behind its name every principal is counted alike.
fn who(n: u32) -> Who {
    Who::at(std::net::Ipv4Addr::from_bits(n).into())
}

fn rate(criterion: &mut Criterion) {
    let limiter = Limiter::new(&Config::default(), true, &Metrics::default());
    let mut group = criterion.benchmark_group("rate");
    let now = Instant::now();
    group.bench_function("one principal", |bencher| {
        bencher.iter(|| limiter.take(RateClass::Read, black_box(who(1)), now));
    });
    group.bench_function("ten thousand in turn", |bencher| {
        let mut n = 0;
        bencher.iter(|| {
            n = (n + 1) % 10_000;
            limiter.take(RateClass::Read, black_box(who(n)), now)
        });
    });
    group.bench_function("fields", |bencher| {
        let standing = limiter.take(RateClass::Read, who(1), now);
        bencher.iter(|| {
            let mut headers = HeaderMap::with_capacity(8);
            put_fields(standing.as_ref(), |name, value| {
                headers.insert(name, value);
                Ok::<_, ()>(())
            })
            .unwrap();
            headers
        });
    });
    group.finish();
}

criterion_group!(benches, rate);
criterion_main!(benches);
