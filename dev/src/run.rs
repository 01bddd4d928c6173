//! `dev run`: a mesh on the fixed ports until somebody stops it or a process dies. It says what it does, and leaves nothing
//! running whatever happens.

use crate::demo;
use crate::mesh::{self, Mesh, Setup};
use crate::progress::{self, Progress};
use crate::supervisor::last_words;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How soon a dead process is noticed.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a mesh until SIGINT, SIGTERM or the terminal's end. The binaries are beside this program unless told otherwise.
#[must_use]
pub fn main(binaries: Option<PathBuf>, folder: &Path, with_demo: bool) -> ExitCode {
    let run = || -> Result<ExitCode> {
        let binaries = match binaries {
            Some(folder) => folder,
            None => std::env::current_exe()?.parent().context("this program is in no folder")?.to_owned(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(up_to_the_end(&binaries, folder, with_demo))
    };
    run().unwrap_or_else(|error| failed(&error))
}

/// Wipes a state folder.
#[must_use]
pub fn reset(folder: &Path) -> ExitCode {
    mesh::reset(folder).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// Writes the contract's descriptor set.
#[must_use]
pub fn descriptors(path: &Path) -> ExitCode {
    let written = std::fs::write(path, proto::DESCRIPTOR_SET);
    let written = written.with_context(|| format!("cannot write {}", path.display()));
    written.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    progress::fail(error);
    ExitCode::FAILURE
}

async fn up_to_the_end(binaries: &Path, folder: &Path, with_demo: bool) -> Result<ExitCode> {
    let progress = Progress::start();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mesh = Mesh::prepare(Setup::kept(binaries, folder))?;
    let outcome = tokio::select! {
        outcome = serve(&mesh, &progress, with_demo) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    // The reason first: stopping may take a while.
    if let Err(error) = &outcome {
        progress::fail(error);
    }
    progress.say("stopping the edge, the services and the stores");
    mesh.stop_all().await?;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts everything and watches it. Returns only when something goes wrong.
async fn serve(mesh: &Mesh, progress: &Progress, with_demo: bool) -> Result<()> {
    tokio::select! {
        started = start(mesh, progress, with_demo) => started?,
        died = watch(mesh) => return died,
    }
    watch(mesh).await
}

async fn start(mesh: &Mesh, progress: &Progress, with_demo: bool) -> Result<()> {
    progress.say("certificates and secrets are in place");
    progress.say("starting PostgreSQL, Redis, MongoDB, the DynamoDB engine and the token issuer");
    mesh.start_stores().await?;
    progress.say("starting the edge and the four services");
    mesh.start_workloads().await?;
    let demo = if with_demo {
        progress.say("loading the demo data");
        Some(demo::load(mesh).await.context("cannot load the demo data")?)
    } else {
        None
    };
    progress.say("ready");
    progress::ready_page(mesh, demo.as_ref());
    Ok(())
}

/// Returns when a process has died.
async fn watch(mesh: &Mesh) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some((part, status)) = mesh.ended() {
            bail!("{part} has died, {status}{}", last_words(&mesh.log_path(part)));
        }
    }
}
