//! Arguments in, exit code out.

use std::io::Write;
use std::process::ExitCode;

// The system's allocator keeps what a burst of clients took: 10,000 of them left 28 MiB behind; this one gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    primacy::cli::run(std::env::args_os()).unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is closed.
        writeln!(std::io::stderr(), "primacy: {error:#}").ok();
        ExitCode::FAILURE
    })
}
