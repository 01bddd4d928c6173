//! Attacks from reference/security-cases.md of the design, a test a row and named by its id: what gets in, gets through or stays
//! up is a fault of the edge's. Which row is shown where stands in docs/security.md, and tests/tests/rules.rs compares.

pub mod bodies;
pub mod flood;
pub mod frames;
pub mod framing;
pub mod injection;
pub mod metadata;
pub mod money;
pub mod objects;
pub mod paths;
pub mod rotation;
pub mod signatures;
pub mod slow;
pub mod starved;
pub mod telling;
pub mod tls;

use std::time::Duration;

use e2e::World;
use e2e::load::resident_mib;

/// What an attack may cost the edge in memory: connections and their buffers, not what the attacker sends.
pub const GROWTH_MIB_MAX: f64 = 48.0;
/// How long an honest request may take while an attack runs beside it, on a machine that has the attacker on it too.
const HONEST: Duration = Duration::from_secs(10);

/// The resident memory of the edge.
pub fn edge_mib(world: &World) -> f64 {
    resident_mib(world.mesh.pid(dev::Part::Edge).unwrap())
}

/// Runs an attack, while honest clients go on being served and the edge's memory stays what it was.
pub async fn withstands<T>(world: &World, attack: impl Future<Output = T>) -> T {
    let before = edge_mib(world);
    let mut attack = std::pin::pin!(attack);
    let mut most = before;
    let ended = loop {
        tokio::select! {
            ended = &mut attack => break ended,
            () = honest(world) => most = most.max(edge_mib(world)),
        }
    };
    honest(world).await;
    assert!(most - before < GROWTH_MIB_MAX, "the edge grew from {before} MiB to {most} MiB");
    ended
}

/// An honest client asks over a connection of its own, and is answered in time.
async fn honest(world: &World) {
    let request = world.rest.request(http::Method::GET, "/v1/echo/honest");
    let answer = world.rest.send(request.body(http_body_util::Full::default()).unwrap());
    let answer = tokio::time::timeout(HONEST, answer).await.expect("an honest client waits in vain");
    assert_eq!(answer.ok()["text"], "honest");
    tokio::time::sleep(Duration::from_millis(20)).await;
}
