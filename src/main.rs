//! Arguments in, exit code out.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    primacy::cli::run(std::env::args_os()).unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is closed.
        writeln!(std::io::stderr(), "primacy: {error:#}").ok();
        ExitCode::FAILURE
    })
}
