//! The service's one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    oncebox::cli::run(std::env::args_os())
}
