//! The local mesh from the command line: run it, wipe it, write its descriptor set. What is done is in the library.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The local mesh of Causeway in one command.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The folder with keys, configuration, logs and data.
    #[arg(long, global = true, default_value_os_t = dev::mesh::state_folder())]
    state: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the stores, the services, the edge and the token issuer, and runs them until Ctrl-C.
    Run {
        /// The folder with the five binaries; the one this program is in when left out.
        #[arg(long)]
        binaries: Option<PathBuf>,
        /// Starts with empty stores.
        #[arg(long)]
        no_demo: bool,
    },
    /// Wipes the state folder.
    Reset,
    /// Writes the contract's descriptor set, which the edge reads, to a file.
    Descriptors { path: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run { binaries, no_demo } => dev::run::main(binaries, &arguments.state, !no_demo),
        Command::Reset => dev::run::reset(&arguments.state),
        Command::Descriptors { path } => dev::run::descriptors(&path),
    }
}
