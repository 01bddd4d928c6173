//! The command line: without a word the service; `verify` proves the journal of a ledger beside the running service, `check-proof`
//! one transfer to whoever has the ledger's public key, which `head-key` prints.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::check;
use crate::config::Config;
use crate::domain::replay::Finding;
use crate::store::verify::{self, Evidence, Progress, Report};

/// The journal is not what it must be.
const EXIT_FOUND: u8 = 1;
/// The journal could not be read to its end.
const EXIT_UNREAD: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "svc-ledger")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay the journal by the judge's own rules, and compare balances, versions, sums, hashes, signed heads and tables.
    ///
    /// Ends with 0 if all is as it must be, with 1 if something is not, with 2 if the journal cannot be read to its end.
    Verify {
        /// The service's configuration file; only [store] is used.
        #[arg(long)]
        config: PathBuf,
        /// The ledger's public keys, a PEM file: heads must be signed by one of them.
        #[arg(long)]
        key: Option<PathBuf>,
        /// A page of heads that the document service has kept, as `GET /v1/journalHeads` answered it: they must be signed, and heads of
        /// this journal. May be given several times.
        #[arg(long, requires = "key")]
        heads: Vec<PathBuf>,
    },
    /// Check the proof of a transfer with the ledger's public key, and nothing else.
    ///
    /// Ends with 0 if the transfer is proven, with 1 if it is not, with 2 if the files cannot be read.
    CheckProof {
        /// The ledger's public keys, a PEM file.
        #[arg(long)]
        key: PathBuf,
        /// The answer of `GET /v1/transfers/{transfer_id}/proof`.
        file: PathBuf,
    },
    /// Print the public half of the key that signs heads.
    HeadKey {
        /// The private key, a PEM file.
        #[arg(long)]
        key: PathBuf,
    },
}

/// Runs what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let word = std::env::args_os().nth(1);
    if word.is_none_or(|word| word.to_string_lossy().starts_with("--")) {
        return chassis::run::service::<crate::Ledger>();
    }
    match Arguments::try_parse() {
        Ok(Arguments { command: Command::Verify { config, key, heads } }) => {
            verify(&config, key.as_deref(), &heads)
        }
        Ok(Arguments { command: Command::CheckProof { key, file } }) => check::run(&key, &file),
        Ok(Arguments { command: Command::HeadKey { key } }) => head_key(&key),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { chassis::run::EXIT_CONFIG } else { 0 })
        }
    }
}

fn head_key(path: &Path) -> ExitCode {
    let public = std::fs::read_to_string(path).map_err(anyhow::Error::from);
    match public.and_then(|private| chassis::transaction_token::public_half(&private)) {
        Ok(public) => {
            let _ = write!(std::io::stdout(), "{public}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "svc-ledger head-key: {error:#}");
            ExitCode::from(EXIT_UNREAD)
        }
    }
}

fn verify(config: &Path, key: Option<&Path>, heads: &[PathBuf]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match check::evidence(key, heads).and_then(|evidence| verified(config, &evidence)) {
        Ok((report, took, cpu)) => {
            let _ = writeln!(out, "{}", summary(report, took, cpu));
            if report.found == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "svc-ledger verify: {error:#}");
            ExitCode::from(EXIT_UNREAD)
        }
    }
}

fn verified(path: &Path, evidence: &Evidence) -> anyhow::Result<(Report, Duration, Duration)> {
    let config: Config = chassis::config::load(path)?;
    let source = verify::source(&config.store)?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bar = bar();
    let begun = Instant::now();
    let report = runtime.block_on(verify::verify(&source, evidence, |progress| tell(&bar, progress)));
    bar.finish_and_clear();
    let report = report.context("cannot read the journal to its end")?.context("stopped")?;
    Ok((report, begun.elapsed(), cpu_time()))
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} rows, {per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn tell(bar: &ProgressBar, progress: Progress) -> bool {
    bar.set_length(progress.head_seq.unsigned_abs());
    bar.set_position(progress.seq.unsigned_abs());
    for finding in progress.findings {
        bar.suspend(|| {
            let _ = writeln!(std::io::stdout(), "{}", line(&finding));
        });
    }
    true
}

fn line(finding: &Finding) -> String {
    let Finding { seq, what, expected, found } = finding;
    let place = if *seq == 0 { "ledger".to_owned() } else { format!("row {seq}") };
    format!("{place}: {what}: expected {expected}, found {found}")
}

fn summary(report: Report, took: Duration, cpu: Duration) -> String {
    let Report { rows, batches, found, head, signatures } = report;
    let signed = match signatures {
        0 => "no signature of a head looked at".to_owned(),
        _ => format!("{signatures} signatures of heads"),
    };
    let head: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
    let verdict = if found == 0 { "all as it must be".to_owned() } else { format!("{found} findings") };
    let per_core = i128::from(rows) * 1_000_000 / i128::try_from(cpu.as_micros().max(1)).unwrap_or(1);
    format!(
        "{verdict}: {rows} rows in {batches} batches, {signed}, head {head}\n\
         {:.1} s, {:.1} s of one core here: {per_core} rows/s a core",
        took.as_secs_f64(),
        cpu.as_secs_f64()
    )
}

/// What this process has computed so far, in user and in system mode.
fn cpu_time() -> Duration {
    // The fields of proc(5) behind the name, which may hold blanks; in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
