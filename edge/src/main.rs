//! The `edge` process; see the library for everything it does.

use std::process::ExitCode;

// Worth a fifth of the edge's processor time: requests are many small allocations on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    edge::run::main()
}
