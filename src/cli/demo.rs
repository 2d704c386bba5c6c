//! `chancery demo`: a whole federation of real processes on this machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chancery_proto::Recipe;
use chancery_proto::wire::{RoundView, RunView};
use chancery_provenance::{Policy, PublicKey, verify_release};
use clap::Args;

use super::compare::{self, Row};
use super::coordinator::create_token;
use super::federation::{create, round_line, size, watch};
use super::operator::{ADDRESS, Operator};
use super::processes::Processes;
use super::runtime::{Stopwatch, block_on, stop_signal};

/// The institutions, and what each calls its task.
pub(crate) const SITES: [(&str, &str); 3] =
    [("hospital", "triage"), ("legal", "clauses"), ("industry", "defects")];

#[derive(Args)]
pub(crate) struct Demo {
    /// End when the verdict is there, instead of leaving the passport page up
    #[arg(long)]
    exit: bool,
    /// Also train every institution alone, and on everybody's data together
    #[arg(long)]
    compare: bool,
    /// Keep keys, logs, databases and the pulled adapter in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Folder with the base model, the data and the recipe
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
    /// Rounds, instead of the recipe's
    #[arg(long)]
    rounds: Option<u32>,
}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let examples = match &self.examples {
            Some(dir) => dir.clone(),
            None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")),
        };
        if !examples.join("base/config.json").exists() {
            bail!(
                "{} holds no base model\n  fix:  run the demo in a checkout, or name its folder with --examples DIR",
                examples.display()
            );
        }
        let temporary = match &self.keep {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("chancery-demo-").tempdir()?),
        };
        let dir = match (&self.keep, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => bail!("there is no folder to work in"),
        };
        std::fs::create_dir_all(&dir)?;
        let federation = Federation { dir: std::path::absolute(dir)?, examples };
        block_on(async {
            // Whatever ends the demo, the processes end with it: they are dropped here.
            tokio::select! {
                done = self.play(&federation) => done,
                () = stop_signal() => {
                    println!("stopped");
                    Ok(ExitCode::from(130))
                }
            }
        })
    }

    async fn play(&self, federation: &Federation) -> anyhow::Result<ExitCode> {
        let watch_clock = Stopwatch::start();
        let mut recipe = federation.recipe()?;
        if let Some(rounds) = self.rounds {
            recipe.federation.rounds = rounds;
        }
        let mut processes = Processes::new(federation.dir.join("logs"))?;
        let registry = federation.start(&mut processes).await?;
        println!("registry     {registry}");
        let operator = federation.operator();
        federation.join(&operator).await?;
        let run = create(&operator, &toml::to_string(&recipe)?, &federation.examples.join("base"))
            .await?;
        let request = chancery_proto::wire::RunRequest { run: run.run.clone() };
        let started = operator.connect().await?.start_run(request).await;
        started.map_err(super::federation::refused)?;
        federation.participate(&mut processes)?;
        let rounds = watch(&operator, &run.run, |view, round| {
            println!("{}", round_line(round, view.rounds));
        });
        let view = tokio::select! {
            view = rounds => view?,
            failure = processes.failure() => return Err(failure),
        };
        if view.state != "succeeded" {
            bail!("the run {}: {}\n{}", view.state, view.detail, processes.last_words());
        }
        let mut rows = rows(&view);
        if self.compare {
            let (recipe, examples) = (recipe.clone(), federation.examples.clone());
            let more = tokio::task::spawn_blocking(move || compare::rows(&recipe, &examples));
            rows.extend(more.await??);
        }
        print_table(&rows);
        let verified = federation.pull_and_verify(&registry, &view)?;
        let (up, down) = traffic(&view.history);
        println!("bytes        {} up, {} down", size(up), size(down));
        println!("digest       {}", view.published_digest);
        println!("verdict      {}", verified.1);
        println!(
            "passport     {registry}/models/{}/{}",
            view.published_name, view.published_version
        );
        println!("took         {:.0} s", watch_clock.seconds());
        if !verified.0 {
            return Ok(ExitCode::FAILURE);
        }
        if !self.exit {
            println!("The passport page stays up until Ctrl-C.");
            return Err(processes.failure().await);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where everything is.
struct Federation {
    dir: PathBuf,
    examples: PathBuf,
}

impl Federation {
    fn recipe(&self) -> anyhow::Result<Recipe> {
        let path = self.examples.join("verticals.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Recipe::from_toml(&text)?)
    }

    fn coordinator(&self) -> PathBuf {
        self.dir.join("coordinator")
    }

    fn operator(&self) -> Operator {
        Operator::at(self.coordinator().join("operator"), None)
    }

    /// Starts registry and coordinator; gives the registry's address.
    async fn start(&self, processes: &mut Processes) -> anyhow::Result<String> {
        let coordinator = self.coordinator();
        processes
            .finish("coordinator-init", &["coordinator", "init", "--dir", text(&coordinator)?])?;
        let registry = self.dir.join("registry");
        let key = coordinator.join("keys/coordinator.pub");
        processes.spawn(
            "registry",
            &[
                "registry",
                "serve",
                "--dir",
                text(&registry)?,
                "--listen",
                "127.0.0.1:0",
                "--coordinator-key",
                text(&key)?,
            ],
        )?;
        let url = processes.await_file(&registry.join("registry.url")).await?;
        let token = registry.join("publisher.token");
        processes.spawn(
            "coordinator",
            &[
                "coordinator",
                "serve",
                "--dir",
                text(&coordinator)?,
                "--listen",
                "127.0.0.1:0",
                "--registry",
                &url,
                "--registry-token",
                text(&token)?,
            ],
        )?;
        let address = processes.await_file(&coordinator.join("operator").join(ADDRESS)).await?;
        println!("coordinator  {address}");
        Ok(url)
    }

    /// Enrols every site with a token of its own.
    async fn join(&self, operator: &Operator) -> anyhow::Result<()> {
        let url = std::fs::read_to_string(self.coordinator().join("operator").join(ADDRESS))?;
        for (site, _) in SITES {
            let token = create_token(operator, site, 1).await?.parse()?;
            let home = self.dir.join(site);
            chancery_participant::join(url.trim(), &token, &home).await?;
        }
        println!("joined       {}", SITES.map(|(site, _)| site).join(", "));
        Ok(())
    }

    /// Starts a process for every site. Together they use what cores there are.
    fn participate(&self, processes: &mut Processes) -> anyhow::Result<()> {
        let base = self.examples.join("base");
        for (site, task) in SITES {
            let data = self.examples.join("data").join(site);
            let (home, train, test) =
                (self.dir.join(site), data.join("train.jsonl"), data.join("test.jsonl"));
            processes.spawn(
                site,
                &[
                    "participant",
                    "run",
                    "--home",
                    text(&home)?,
                    "--base",
                    text(&base)?,
                    "--data",
                    text(&train)?,
                    "--held-out",
                    text(&test)?,
                    "--task",
                    task,
                ],
            )?;
        }
        Ok(())
    }

    /// Fetches the published adapter and checks it as a stranger would, but with known keys.
    fn pull_and_verify(&self, registry: &str, view: &RunView) -> anyhow::Result<(bool, String)> {
        let out = self.dir.join("pulled");
        let client = chancery_registry::RegistryClient::new(registry, None);
        client.pull(&view.published_name, view.published_version, &out)?;
        let policy = Policy {
            registry_keys: vec![PublicKey::load(&self.dir.join("registry/registry.pub"))?],
            coordinator_keys: vec![PublicKey::load(
                &self.coordinator().join("keys/coordinator.pub"),
            )?],
        };
        let report = verify_release(&out, &policy);
        let words = format!("{} {}", report.verdict.code(), report.words);
        Ok((report.verdict == chancery_provenance::Verdict::Verified, words))
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Base and federated accuracy in the order of the sites.
fn rows(view: &RunView) -> Vec<Row> {
    let accuracy = |round: Option<&RoundView>, base: bool| {
        SITES.map(|(site, _)| {
            let score = round?.scores.iter().find(|score| score.site == site)?;
            let score = if base { score.base.as_ref() } else { score.adapter.as_ref() };
            score.map(|score| score.accuracy)
        })
    };
    vec![
        Row { name: "base".to_owned(), accuracy: accuracy(view.history.first(), true) },
        Row { name: "federated".to_owned(), accuracy: accuracy(view.history.last(), false) },
    ]
}

fn print_table(rows: &[Row]) {
    println!("{:<20}{}", "accuracy", SITES.map(|(_, task)| format!("{task:>10}")).concat());
    for row in rows {
        let cells = row.accuracy.map(|accuracy| match accuracy {
            Some(accuracy) => format!("{:>8.1} %", accuracy * 100.0),
            None => format!("{:>10}", "-"),
        });
        println!("{:<20}{}", row.name, cells.concat());
    }
}

fn traffic(history: &[RoundView]) -> (u64, u64) {
    history.iter().fold((0, 0), |(up, down), r| (up + r.bytes_up, down + r.bytes_down))
}
