//! What operators build on, kept in files: the route table of the edge and the metrics of every process. A change that means to
//! change one brings its file along; any other is told by these tests. They write what they found beside the file, as
//! `<name>.actual`, to be moved over it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dev::Part;
use e2e::World;
use e2e::world::{binaries, transfer, unique};
use http::Method;
use proto::cache::v1::cache_service_client::CacheServiceClient;
use proto::cache::v1::{DeleteEntryRequest, SetEntryRequest};
use serde_json::json;

crate::tests![the_route_table_is_the_one_on_file, the_metrics_are_those_on_file];

/// Families that show only once an upstream has gone away or been overrun, or a client has gone too far, which this mesh need not
/// have seen.
const SELDOM: [&str; 6] = [
    "edge_connections_cut_total",
    "upstream_ejections_total",
    "upstream_limited_total",
    "upstream_moved_total",
    "upstream_refused_total",
    "upstream_retries_total",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// Compares with `golden/<name>`; `same` tells which lines mean the same.
fn compare(name: &str, actual: &str, same: impl Fn(&str) -> String) {
    let golden = golden(name);
    let expect = std::fs::read_to_string(&golden).unwrap_or_default();
    let (before, after): (Vec<_>, Vec<_>) =
        (expect.lines().map(&same).collect(), actual.lines().map(&same).collect());
    if before == after {
        return;
    }
    std::fs::write(golden.with_added_extension("actual"), actual).unwrap();
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    panic!(
        "tests/golden/{name} differs. If that is meant: mv tests/golden/{name}.actual tests/golden/{name}, and commit it \
         with the change that means it.\n{}",
        gone.chain(come).collect::<Vec<_>>().join("\n")
    );
}

async fn the_route_table_is_the_one_on_file(world: Arc<World>) {
    let written = std::fs::read_to_string(world.mesh.folder().join("config/edge.toml")).unwrap();
    let mut config: toml::Table = written.parse().unwrap();
    // The foreign service of this suite is no part of the mesh.
    for (_, tables) in &mut config {
        if let toml::Value::Array(tables) = tables {
            tables
                .retain(|table| !["foreign", "echo.v1"].iter().any(|name| table.to_string().contains(name)));
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml::to_string(&config).unwrap()).unwrap();
    let check =
        Command::new(binaries().join("edge")).args(["check", "--config"]).arg(file.path()).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    // How wide the columns are says nothing.
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    compare("routes.txt", &String::from_utf8(check.stdout).unwrap(), squeezed);
}

async fn the_metrics_are_those_on_file(world: Arc<World>) {
    traffic(&world).await;
    let mut lines = BTreeSet::new();
    for part in Part::WORKLOADS {
        let (_, page) = world.admin(part, "/metrics").await;
        lines.extend(metrics(&page).into_iter().map(|(kind, name, labels)| {
            let labels = labels.into_iter().collect::<Vec<_>>().join(",");
            format!("{part} {kind} {name}{{{labels}}}")
        }));
    }
    let known = std::fs::read_to_string(golden("metrics.txt")).unwrap_or_default();
    let seldom = |line: &&str| SELDOM.iter().any(|name| line.contains(&format!(" {name}{{")));
    lines.extend(known.lines().filter(seldom).map(str::to_owned));
    let found = lines.into_iter().collect::<Vec<_>>().join("\n") + "\n";
    compare("metrics.txt", &found, str::to_owned);
}

/// The type, the name and the label names of every family that a page shows.
fn metrics<'a>(page: &'a str) -> Vec<(&'a str, String, BTreeSet<&'a str>)> {
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let describe = |(family, kind): (&'a str, &'a str)| {
        let samples = page.lines().filter_map(|line| {
            let (name, rest) = line.split_at(line.find(['{', ' '])?);
            let suffix = name.strip_prefix(family)?;
            matches!(suffix, "" | "_total" | "_bucket" | "_sum" | "_count").then_some(rest)
        });
        let labels = samples.flat_map(labels).collect();
        let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
        (kind, name, labels)
    };
    families.map(describe).collect()
}

/// The label names of a sample, from its `{` on.
fn labels(sample: &str) -> BTreeSet<&str> {
    let Some((inside, _)) = sample.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')) else {
        return BTreeSet::new();
    };
    // Values are quoted and hold no quotes themselves: every other piece is outside of them.
    let names = inside.split('"').step_by(2).map(|name| name.trim_matches([',', '=']));
    names.filter(|name| !name.is_empty() && *name != "le").collect()
}

/// A little of everything, so that most families have a sample.
async fn traffic(world: &World) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    let start = chrono::Utc::now() - chrono::Duration::minutes(1);
    world.fund(&from, "EUR", 100).await;
    let rest = &world.rest;
    let body = transfer(&from, &to, "EUR", 1, false);
    rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await.ok();
    for _ in 0..2 {
        rest.get(&customer.token, &format!("/v1/accounts/{from}")).await.ok();
    }
    let period = json!({
        "startTime": start.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "endTime": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "format": "STATEMENT_FORMAT_CSV",
    });
    let path = format!("/v1/accounts/{from}/statements");
    let document = rest.post(&customer.token, &path, &unique("statement"), &period).await.text("documentId");
    let content = rest.get(&customer.token, &format!("/v1/documents/{document}/content")).await;
    assert!(content.status.is_success(), "{content:?}");
    let anonymous = rest.request(Method::GET, "/v1/customers").body(http_body_util::Full::default()).unwrap();
    rest.send(anonymous).await.refused(401, "UNAUTHENTICATED", "TOKEN_MISSING");
    let mut cache = CacheServiceClient::new(world.mesh_as(Part::Docs));
    let key = unique("golden");
    let time_to_live = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let entry = SetEntryRequest { key: key.clone(), time_to_live, ..Default::default() };
    cache.set_entry(entry).await.unwrap();
    cache.delete_entry(DeleteEntryRequest { key }).await.unwrap();
    rest.get("nonsense", "/v1/customers").await.refused(401, "UNAUTHENTICATED", "TOKEN_INVALID");
}
