//! What finding a route costs in tables of ten, a thousand and ten thousand: it must not depend on their number.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up has nothing to say")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use edge::route::{Options, Refusal, Router, Template};

const ID: &str = "01936b2e-7f4c-7d3a-9c1e-0a1b2c3d4e5f";

/// What one resource of an API looks like.
const ROUTES: [(&str, &str); 5] = [
    ("GET", ""),
    ("GET", "/search"),
    ("GET", "/{id}"),
    ("POST", "/{id}:close"),
    ("GET", "/{id}/entries/{entry_id}"),
];

struct Table {
    router: Router,
    templates: Vec<Template>,
}

fn table(routes: usize) -> Table {
    let mut table = Table { router: Router::new(Options::default()), templates: Vec::new() };
    for resource in 0..routes / ROUTES.len() {
        for (method, rest) in ROUTES {
            let template = Template::parse(&format!("/v1/resources{resource}{rest}")).unwrap();
            table.router.add(method, &template, table.templates.len() as u32).unwrap();
            table.templates.push(template);
        }
    }
    table
}

/// Finds a route and reads its variables, as the edge does; how many there are.
fn find(table: &Table, method: &str, path: &str) -> Result<usize, Refusal> {
    let found = table.router.find(method, path, &|_| true)?;
    let variables = table.router.variables(&found, &table.templates[found.target as usize])?;
    Ok(black_box(variables).0.len())
}

fn routes(criterion: &mut Criterion) {
    for routes in [10, 1_000, 10_000] {
        let table = table(routes);
        let resource = format!("/v1/resources{}", routes / ROUTES.len() / 2);
        for (name, method, rest, expect) in [
            ("literal", "GET", "/search".to_owned(), Ok(0)),
            ("variables", "GET", format!("/{ID}/entries/{ID}"), Ok(2)),
            ("verb", "POST", format!("/{ID}:close"), Ok(1)),
            ("miss", "GET", format!("/{ID}/nothing"), Err(Refusal::UnknownPath)),
        ] {
            let path = format!("{resource}{rest}");
            assert_eq!(find(&table, method, &path), expect);
            let mut group = criterion.benchmark_group(format!("route, {name}"));
            group.bench_function(BenchmarkId::from_parameter(routes), |bencher| {
                bencher.iter(|| find(&table, black_box(method), black_box(&path)));
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = routes
}
criterion_main!(benches);
