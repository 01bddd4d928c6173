//! The faults: each is something that happens to a bank, done to a mesh under load and mended again.

use std::time::Duration;

use dev::Part;
use futures::future::LocalBoxFuture;

use super::proxy::Harm;
use super::scene::Scene;

/// Something that happens. It ends mended, but for what must come back by itself.
pub struct Fault {
    pub name: &'static str,
    /// Whether it is among the few that every run of the tests has.
    pub short: bool,
    pub happen: for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, ()>,
}

/// How long a frozen process or a broken network stays so: longer than what a health check or a ping needs to see it.
const LASTS: Duration = Duration::from_secs(4);
/// How long the mesh runs with two replicas before and after one of them is killed.
const TOGETHER: Duration = Duration::from_secs(3);

macro_rules! fault {
    ($name:literal, $short:literal, |$scene:ident| $happen:expr) => {
        Fault { name: $name, short: $short, happen: |$scene| Box::pin(async move { $happen }) }
    };
}

async fn harmed(scene: &Scene, harm: Harm) {
    scene.proxy.harm(harm);
    tokio::time::sleep(LASTS).await;
    scene.proxy.harm(Harm::None);
}

/// All of them, in the order they happen.
pub const FAULTS: [Fault; 14] = [
    fault!("svc-ledger is killed", true, |scene| scene.kill_and_start(Part::Ledger).await),
    fault!("the edge is killed", false, |scene| scene.kill_and_start(Part::Edge).await),
    fault!("PostgreSQL stops immediately", true, |scene| scene.stop_immediately_and_start().await),
    fault!("the postmaster is killed", false, |scene| scene.kill_and_start(Part::Postgres).await),
    fault!("svc-ledger is frozen", false, |scene| scene.freeze(Part::Ledger, LASTS).await),
    fault!("the edge is frozen", false, |scene| scene.freeze(Part::Edge, LASTS).await),
    fault!("PostgreSQL is frozen", false, |scene| scene.freeze(Part::Postgres, LASTS).await),
    fault!("the network to PostgreSQL is slow", false, |scene| {
        harmed(scene, Harm::Delay(Duration::from_millis(100))).await;
    }),
    fault!("connections to PostgreSQL are reset", true, |scene| {
        // Again and again, so that some are in the middle of a COMMIT.
        for _ in 0..20 {
            scene.proxy.harm(Harm::Cut);
            tokio::time::sleep(Duration::from_millis(20)).await;
            scene.proxy.harm(Harm::None);
            tokio::time::sleep(Duration::from_millis(180)).await;
        }
    }),
    fault!("the network to PostgreSQL swallows everything", false, |scene| harmed(scene, Harm::Swallow)
        .await),
    fault!("PostgreSQL's answers are lost", false, |scene| harmed(scene, Harm::Deafen).await),
    fault!("connections to PostgreSQL are half closed", false, |scene| harmed(scene, Harm::Halve).await),
    fault!("two replicas write, and one is killed", false, |scene| {
        let mut second = scene.replica().await;
        tokio::time::sleep(TOGETHER).await;
        second.kill();
        tokio::time::sleep(TOGETHER).await;
    }),
    fault!("of two replicas the first is killed", false, |scene| {
        let _second = scene.replica().await;
        tokio::time::sleep(TOGETHER).await;
        scene.kill_and_start(Part::Ledger).await;
        tokio::time::sleep(TOGETHER).await;
    }),
];
