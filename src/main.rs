//! `chancery`: one binary, roles as subcommands. Each arm is one call into a crate.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
