//! `chancery run`: the operator's view of runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chancery_proto::Recipe;
use chancery_proto::wire::{
    CreateRunRequest, ListRunsRequest, RoundView, RunRequest, RunView, WatchRunRequest,
};
use clap::{Args, Subcommand};

use super::operator::Operator;
use super::runtime::block_on;

#[derive(Subcommand)]
pub(crate) enum Run {
    /// Submit a recipe
    Create(Create),
    /// Let a run begin as soon as its sites are there
    Start(One),
    /// List runs
    Ls(List),
    /// Show a run with its rounds
    Show(One),
    /// Print a line per round until the run is over
    Watch(One),
    /// End a run now; what its rounds produced stays
    Stop(One),
}

#[derive(Args)]
pub(crate) struct Create {
    /// The recipe, TOML
    #[arg(required_unless_present = "print_sample")]
    recipe: Option<PathBuf>,
    /// The base model's folder; its digest and dimensions go into the run
    #[arg(long, value_name = "DIR", required_unless_present = "print_sample")]
    base: Option<PathBuf>,
    /// Print a documented recipe and stop
    #[arg(long)]
    print_sample: bool,
    #[command(flatten)]
    operator: OptionalOperator,
}

/// `--print-sample` needs no operator.
#[derive(Args)]
struct OptionalOperator {
    /// Folder with the operator's key and certificate; the coordinator makes it at first start
    #[arg(long, env = "CHANCERY_OPERATOR", value_name = "DIR")]
    operator: Option<PathBuf>,
    /// The coordinator's address; left out, the one it last served at
    #[arg(long, env = "CHANCERY_COORDINATOR", value_name = "URL")]
    coordinator: Option<String>,
}

#[derive(Args)]
pub(crate) struct One {
    /// The run
    run: String,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    operator: Operator,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(create) => create.run()?,
            Self::Start(one) => block_on(async {
                let request = RunRequest { run: one.run };
                let view = one.operator.connect().await?.start_run(request).await;
                print_run(&view.map_err(refused)?.into_inner());
                Ok(())
            })?,
            Self::Stop(one) => block_on(async {
                let request = RunRequest { run: one.run };
                let view = one.operator.connect().await?.stop_run(request).await;
                print_run(&view.map_err(refused)?.into_inner());
                Ok(())
            })?,
            Self::Show(one) => block_on(async {
                let request = RunRequest { run: one.run };
                let view = one.operator.connect().await?.get_run(request).await;
                let view = view.map_err(refused)?.into_inner();
                print_run(&view);
                view.history
                    .iter()
                    .for_each(|round| println!("{}", round_line(round, view.rounds)));
                Ok(())
            })?,
            Self::Ls(list) => block_on(async {
                let runs = list.operator.connect().await?.list_runs(ListRunsRequest {}).await;
                runs.map_err(refused)?.into_inner().runs.iter().for_each(print_run);
                Ok(())
            })?,
            Self::Watch(one) => {
                let view = block_on(watch(&one.operator, &one.run, |view, round| {
                    println!("{}", round_line(round, view.rounds));
                }))?;
                print_run(&view);
                if view.state != "succeeded" {
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        if self.print_sample {
            print!("{}", chancery_proto::SAMPLE);
            return Ok(());
        }
        let (Some(recipe), Some(base), Some(operator)) =
            (self.recipe, self.base, self.operator.operator)
        else {
            bail!(
                "--operator (or CHANCERY_OPERATOR) is missing: the folder `operator` that the coordinator made"
            );
        };
        let text = std::fs::read_to_string(&recipe)
            .with_context(|| format!("{} cannot be read", recipe.display()))?;
        let operator = Operator::at(operator, self.operator.coordinator);
        let view = block_on(create(&operator, &text, &base))?;
        print_run(&view);
        println!("start it with: chancery run start {}", view.run);
        Ok(())
    }
}

/// Submits the recipe in `text`, with the digest and the dimensions of the base model in `base`.
pub(crate) async fn create(
    operator: &Operator,
    text: &str,
    base: &std::path::Path,
) -> anyhow::Result<RunView> {
    let mut recipe = Recipe::from_toml(text)?;
    let found = chancery_provenance::base_manifest(base)?.root.to_string();
    match &recipe.base.digest {
        Some(wanted) if *wanted != found => bail!(
            "the recipe is for base model {wanted}, but {} is {found}\n  fix:  use the checkpoint \
             that the recipe names, or change base.digest",
            base.display()
        ),
        _ => recipe.base.digest = Some(found),
    }
    let path = base.join("config.json");
    let config = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let shape = chancery_proto::BaseShape::from_hf_config(&config)
        .with_context(|| path.display().to_string())?;
    let request =
        CreateRunRequest { recipe: recipe.to_json(), base_shape: serde_json::to_string(&shape)? };
    let view = operator.connect().await?.create_run(request).await;
    Ok(view.map_err(refused)?.into_inner())
}

/// Calls `each` once for every round that ends, until the run is over.
pub(crate) async fn watch(
    operator: &Operator,
    run: &str,
    mut each: impl FnMut(&RunView, &RoundView),
) -> anyhow::Result<RunView> {
    let mut client = operator.connect().await?;
    let (mut after, mut told) = (0, 0);
    loop {
        let request = WatchRunRequest { run: run.to_owned(), after };
        let view = client.watch_run(request).await.map_err(refused)?.into_inner();
        for round in view.history.iter().filter(|round| round.round > told) {
            if matches!(round.state.as_str(), "succeeded" | "failed") {
                each(&view, round);
            }
        }
        told = view
            .history
            .iter()
            .filter(|round| matches!(round.state.as_str(), "succeeded" | "failed"))
            .map(|round| round.round)
            .max()
            .unwrap_or(told);
        if matches!(view.state.as_str(), "succeeded" | "failed" | "stopped") {
            return Ok(view);
        }
        after = view.revision;
    }
}

/// One round in one line.
pub(crate) fn round_line(round: &RoundView, rounds: u32) -> String {
    let lost = if round.lost > 0 { format!("  {} lost", round.lost) } else { String::new() };
    let refused =
        if round.refused > 0 { format!("  {} refused", round.refused) } else { String::new() };
    let missed = round.missed.map_or(String::new(), |missed| {
        let percent = [missed, round.missed_low, round.missed_high].map(|x| x * 100.0);
        format!("  missed {:.1} % ({:.1} to {:.1})", percent[0], percent[1], percent[2])
    });
    format!(
        "round {:>2}/{rounds}  {}  {} updates{lost}{refused}{missed}  loss {:.3}  accuracy {:>5.1} %  {} up  {} down  {:.1} s",
        round.round,
        round.factors,
        round.updates,
        round.loss,
        round.accuracy * 100.0,
        size(round.bytes_up),
        size(round.bytes_down),
        round.seconds,
    )
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn print_run(view: &RunView) {
    print!("{}  {}  {}  round {}/{}", view.run, view.name, view.state, view.round, view.rounds);
    if view.state == "gathering" {
        print!("  {} of {} sites ready", view.sites_ready, view.sites_wanted);
    }
    if view.state == "succeeded" && view.published_digest.is_empty() {
        print!("  {}", view.adapter_digest);
    }
    if !view.published_digest.is_empty() {
        print!("  {}@{}  {}", view.published_name, view.published_version, view.published_digest);
    }
    if !view.detail.is_empty() {
        print!("  {}", view.detail);
    }
    println!();
}

pub(crate) fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message().to_owned())
}
