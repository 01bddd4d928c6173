//! The end-to-end suite: one mesh for all tests, in one binary, a file a subject. First the tests that share the mesh peacefully,
//! several at a time; then those that hurt it, one by one. `cargo test -p e2e --test mesh -- <filter>` runs some of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "says why the mesh did not start")]

mod accounts;
mod audit;
mod batches;
mod border;
mod cache;
mod consents;
mod coverage;
mod documents;
mod drains;
mod faults;
mod foreign;
mod freezing;
mod golden;
mod journal;
mod ledger;
mod outcomes;
mod payees;
mod rails;
mod refusals;
mod revocation;
mod secrecy;
mod security;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use e2e::World;
use e2e::collector::Collector;
use e2e::keys::Keys;
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Trial};

/// A test: a sentence, and what proves it.
pub type Test = (&'static str, fn(Arc<World>) -> LocalBoxFuture<'static, ()>);

/// What the mesh says of its own work.
pub static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::default);

/// An issuer whose keys come and go.
pub static KEYS: LazyLock<Keys> = LazyLock::new(Keys::default);

/// Names an async function of this module as a test.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), |world| Box::pin($name(world)))),*];
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The mesh shares the machine with its tests.
    arguments.test_threads.get_or_insert(4);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    let peaceful = [
        accounts::TESTS,
        audit::TESTS,
        batches::TESTS,
        border::TESTS,
        cache::TESTS,
        consents::TESTS,
        coverage::TESTS,
        documents::TESTS,
        foreign::TESTS,
        freezing::TESTS,
        golden::TESTS,
        journal::TESTS,
        ledger::TESTS,
        payees::TESTS,
        rails::TESTS,
        refusals::TESTS,
        revocation::TESTS,
        security::bodies::TESTS,
        security::framing::TESTS,
        security::frames::TESTS,
        security::injection::TESTS,
        security::metadata::TESTS,
        security::money::TESTS,
        security::objects::TESTS,
        security::paths::TESTS,
        security::signatures::TESTS,
        security::slow::TESTS,
        security::tls::TESTS,
    ];
    let hurting = [
        security::flood::TESTS,
        security::starved::TESTS,
        security::rotation::TESTS,
        drains::TESTS,
        faults::TESTS,
        outcomes::TESTS,
        security::telling::TESTS,
        secrecy::TESTS,
    ];
    if arguments.list {
        let nothing = |(name, _): &Test| Trial::test(*name, || Ok(()));
        let all = peaceful.iter().chain(&hurting).copied().flatten().map(nothing).collect();
        return libtest_mimic::run(&arguments, all).exit_code();
    }

    let world = match runtime.block_on(start()) {
        Ok(world) => Arc::new(world),
        Err(error) => {
            eprintln!("the mesh did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = |sets: &[&'static [Test]]| {
        let trial = |(name, test): &'static Test| {
            let (world, runtime) = (world.clone(), runtime.clone());
            Trial::test(name.trim_start_matches("mesh::"), move || {
                runtime.block_on(test(world));
                Ok(())
            })
        };
        sets.iter().copied().flatten().map(trial).collect::<Vec<_>>()
    };
    let first = libtest_mimic::run(&arguments, trials(&peaceful));
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(&arguments, trials(&hurting));
    drop(world);
    if first.has_failed() || second.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The mesh, with the foreign service behind its edge and a collector of all its traces.
async fn start() -> anyhow::Result<World> {
    let folder = tempfile::tempdir()?.keep();
    let port = foreign::SERVICE.start().await;
    let traces =
        format!("[telemetry]\notlp_endpoint = \"{}\"\nsample_ratio = 1.0\n", COLLECTOR.start().await);
    let edge = [
        traces.as_str(),
        &e2e::foreign::edge_toml(&folder, port),
        &KEYS.edge_toml(),
        &security::signatures::edge_toml(&folder),
    ]
    .concat();
    World::start(|mut setup| {
        for part in dev::Part::WORKLOADS {
            setup = setup.configure(part, if part == dev::Part::Edge { &edge } else { &traces })?;
        }
        Ok(setup)
    })
    .await
}
