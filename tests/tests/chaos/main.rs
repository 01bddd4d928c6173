//! Chaos: a mesh under load, and everything that can happen to it. After each fault every acknowledged transfer must be there once,
//! every promise of the ledger must hold, and the mesh must serve again by itself. `make chaos` runs all of it and prints how long
//! recovery took; the tests of every day run the short form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a harness of its own: it prints its table and spawns its load"
)]

mod bank;
mod disk;
mod faults;
mod history;
mod proxy;
mod scene;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dev::Setup;
use e2e::world::{binaries, eventually};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use bank::Bank;
use faults::{FAULTS, Fault};
use scene::{READY_WITHIN, Scene};

/// Clients at once: enough that batches hold several transfers, few enough that a debug build on two cores is not what is measured.
const CLIENTS: usize = 16;
/// Few accounts, so that all of them are hot.
const ACCOUNTS: usize = 6;
/// How long the load runs before the fault, and after everything answers again.
const AROUND: Duration = Duration::from_secs(2);

/// What the faults came to, for the table.
static TABLE: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share one mesh, and hurt it.
    arguments.test_threads = Some(1);
    let runtime =
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    let scene: Arc<OnceLock<Scene>> = Arc::default();
    let mut trials: Vec<Trial> = FAULTS
        .iter()
        .map(|fault| {
            let (runtime, scene) = (Arc::clone(&runtime), Arc::clone(&scene));
            let run = move || {
                let scene = scene.get_or_init(|| start(&runtime));
                runtime.block_on(happen(scene, fault.name, fault));
                Ok(())
            };
            // Minutes in all: what `make chaos` is for.
            Trial::test(fault.name.replace(' ', "_"), run).with_ignored_flag(!fault.short)
        })
        .collect();
    let own = Arc::clone(&runtime);
    let full = move || {
        own.block_on(disk::full());
        Ok(())
    };
    trials.push(Trial::test("the_disk_is_full", full).with_ignored_flag(true));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if !table.is_empty() && !arguments.list {
        println!(
            "| fault | operations | failed tries | trouble for | answers again after | reasons met |\n|---|---|---|---|---|---|"
        );
        println!("{}", table.join("\n"));
    }
    // The mesh stops inside the runtime it was started in.
    drop(table);
    runtime.block_on(async { drop(scene) });
    conclusion.exit_code()
}

fn start(runtime: &Runtime) -> Scene {
    let setup = Setup::temporary(&binaries()).unwrap();
    runtime.block_on(Scene::start(setup, |_| ())).unwrap()
}

/// Lets a fault happen in the middle of a load, waits until everything answers again, and checks what was promised.
pub async fn happen(scene: &Scene, name: &str, fault: &Fault) {
    let bank = Bank::open(&scene.world, ACCOUNTS).await;
    let load = bank.pay(&scene.world, CLIENTS);
    let course = async {
        tokio::time::sleep(AROUND).await;
        let begun = Instant::now();
        (fault.happen)(scene).await;
        let over = Instant::now();
        // By itself: nothing more is done to it.
        let before = bank.done.load(std::sync::atomic::Ordering::Relaxed);
        let serves =
            || async { bank.done.load(std::sync::atomic::Ordering::Relaxed) > before + CLIENTS as u64 };
        eventually("everybody is served again", READY_WITHIN, serves).await;
        tokio::time::sleep(AROUND).await;
        bank.stop();
        (begun, over)
    };
    let ((), (begun, over)) = futures::join!(load, course);
    let operations = history::check(scene, &bank).await;
    let row = row(name, &bank, operations, begun, over);
    TABLE.lock().unwrap_or_else(PoisonError::into_inner).push(row);
}

fn row(name: &str, bank: &Bank, operations: usize, begun: Instant, over: Instant) -> String {
    let trouble = bank.trouble.lock().unwrap();
    let failed: usize = trouble.failed.values().sum();
    let reasons: Vec<String> = trouble.failed.iter().map(|(why, count)| format!("{why} {count}")).collect();
    let seconds = |from: Instant, to: Option<Instant>| {
        to.map_or("none".to_owned(), |to| {
            format!("{:.1} s", to.saturating_duration_since(from).as_secs_f64())
        })
    };
    format!(
        "| {name} | {operations} | {failed} | {} | {} | {} |",
        seconds(begun, trouble.last),
        seconds(over, trouble.last),
        reasons.join(", ")
    )
}
