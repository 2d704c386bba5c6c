//! Arguments in, one call into a crate, words out.

#[cfg(feature = "verify")]
mod audit;
#[cfg(all(feature = "participant", feature = "coordinator", feature = "registry"))]
mod compare;
#[cfg(feature = "coordinator")]
mod coordinator;
#[cfg(all(feature = "participant", feature = "coordinator", feature = "registry"))]
mod demo;
#[cfg(feature = "coordinator")]
mod federation;
#[cfg(feature = "registry")]
mod model;
#[cfg(feature = "coordinator")]
mod operator;
#[cfg(feature = "participant")]
mod participant;
#[cfg(all(feature = "participant", feature = "coordinator", feature = "registry"))]
mod processes;
#[cfg(feature = "registry")]
mod registry;
#[cfg(any(feature = "participant", feature = "coordinator", feature = "registry"))]
mod runtime;
#[cfg(feature = "verify")]
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fine-tune a language model together, show nobody your data, and let everyone check the result.
#[derive(Parser)]
#[command(name = "chancery", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole federation on this machine: three institutions, one adapter, one passport
    #[cfg(all(feature = "participant", feature = "coordinator", feature = "registry"))]
    Demo(demo::Demo),
    /// A site: join a federation, take part in runs, train and evaluate locally
    #[cfg(feature = "participant")]
    #[command(subcommand)]
    Participant(participant::Participant),
    /// The coordinator: serve, make join tokens, list and revoke sites
    #[cfg(feature = "coordinator")]
    #[command(subcommand)]
    Coordinator(coordinator::Coordinator),
    /// Runs: create, start, list, show, watch, stop
    #[cfg(feature = "coordinator")]
    #[command(subcommand)]
    Run(federation::Run),
    /// The registry: serve models and their passports
    #[cfg(feature = "registry")]
    #[command(subcommand)]
    Registry(registry::Registry),
    /// Fetch a published adapter
    #[cfg(feature = "registry")]
    Pull(model::Pull),
    /// Check a pulled adapter, or one signed bundle, offline
    #[cfg(feature = "verify")]
    Verify(verify::Verify),
    /// Compute a run's sums again, offline
    #[cfg(feature = "verify")]
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print the passport of a pulled adapter
    #[cfg(feature = "verify")]
    Passport(verify::Passport),
}

/// Parses the arguments and runs the command. Exit codes: 0 success, 1 a command failed, 2 wrong
/// arguments, 10 and above a verdict of `verify`.
pub(crate) fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        #[cfg(all(feature = "participant", feature = "coordinator", feature = "registry"))]
        Command::Demo(demo) => demo.run(),
        #[cfg(feature = "participant")]
        Command::Participant(participant) => participant.run(),
        #[cfg(feature = "coordinator")]
        Command::Coordinator(coordinator) => coordinator.run(),
        #[cfg(feature = "coordinator")]
        Command::Run(run) => run.run(),
        #[cfg(feature = "registry")]
        Command::Registry(registry) => registry.run(),
        #[cfg(feature = "registry")]
        Command::Pull(pull) => pull.run(),
        #[cfg(feature = "verify")]
        Command::Verify(verify) => verify.run(),
        #[cfg(feature = "verify")]
        Command::Audit(audit) => audit.run(),
        #[cfg(feature = "verify")]
        Command::Passport(passport) => passport.run(),
    };
    result.unwrap_or_else(|error| {
        match error.chain().find_map(code) {
            Some(code) => eprintln!("error {code}: {error:#}"),
            None => eprintln!("error: {error:#}"),
        }
        ExitCode::FAILURE
    })
}

/// The stable code of an error that has one.
fn code(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let key = error.downcast_ref::<chancery_provenance::KeyError>().map(|e| e.code());
    let manifest = error.downcast_ref::<chancery_provenance::ManifestError>().map(|e| e.code());
    #[cfg(feature = "participant")]
    let site = {
        let site = error.downcast_ref::<chancery_participant::Error>().map(|e| e.code());
        let train = error.downcast_ref::<chancery_participant::TrainError>().map(|e| e.code());
        site.or(train)
    };
    #[cfg(not(feature = "participant"))]
    let site = None;
    #[cfg(any(feature = "participant", feature = "coordinator"))]
    let protocol = {
        let recipe = error.downcast_ref::<chancery_proto::RecipeError>().map(|e| e.code());
        recipe.or(error.downcast_ref::<chancery_proto::TokenError>().map(|e| e.code()))
    };
    #[cfg(not(any(feature = "participant", feature = "coordinator")))]
    let protocol = None;
    key.or(manifest).or(site).or(protocol)
}
