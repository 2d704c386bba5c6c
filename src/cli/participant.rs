//! `chancery participant`: a site's commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chancery_participant::{
    BaseModel, BurnTrainer, Dataset, Flow, Home, Note, Site, SiteData, TrainJob, Trainer,
    load_peft, observer, save_peft,
};
use chancery_proto::{Factors, JoinToken, Recipe};
use clap::{Args, Subcommand};

use super::runtime::{block_on, log};

#[derive(Subcommand)]
pub(crate) enum Participant {
    /// Join a federation: make a key here, check the coordinator, get a certificate
    Join(Join),
    /// Take part in a run until it is over; opens no listening socket
    Run(Run),
    /// Fine-tune an adapter here alone, without a federation
    Train(Train),
    /// Score the base model, or an adapter on it
    Eval(Eval),
}

#[derive(Args)]
pub(crate) struct Join {
    /// The coordinator, https://host:port
    url: String,
    /// The join token from the operator (or CHANCERY_TOKEN)
    #[arg(long, env = "CHANCERY_TOKEN", hide_env_values = true)]
    token: String,
    /// Where this site keeps its key and its state
    #[arg(long, default_value = "chancery-site", value_name = "DIR")]
    home: PathBuf,
}

#[derive(Args)]
pub(crate) struct Run {
    /// Training examples: JSONL with "prompt" and "completion"
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Held-out examples; without them a tenth of --data is kept back
    #[arg(long, value_name = "FILE")]
    held_out: Option<PathBuf>,
    /// The base model: a Hugging Face checkpoint folder
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// What this site's task is called in the table of results
    #[arg(long, default_value = "")]
    task: String,
    /// Where this site keeps its key and its state
    #[arg(long, default_value = "chancery-site", value_name = "DIR")]
    home: PathBuf,
}

#[derive(Args)]
pub(crate) struct Train {
    /// Training examples: JSONL with "prompt" and "completion"
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// The base model: a Hugging Face checkpoint folder
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// The recipe; its rounds times its steps are trained in one go
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Where the adapter goes, in PEFT layout
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Eval {
    /// Examples: JSONL with "prompt" and "completion"
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The base model: a Hugging Face checkpoint folder
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// An adapter in PEFT layout; without it the base model is scored
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Longest sequence in tokens
    #[arg(long, default_value_t = 512)]
    max_length: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Participant {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Join(join) => join.run(),
            Self::Run(run) => run.run(),
            Self::Train(train) => train.run(),
            Self::Eval(eval) => eval.run(),
        }
    }
}

impl Join {
    fn run(self) -> anyhow::Result<ExitCode> {
        let token: JoinToken = self.token.parse()?;
        println!("authority  SHA256 {}", chancery_participant::authority_fingerprint(&token));
        let home = block_on(async {
            Ok(chancery_participant::join(&self.url, &token, &self.home).await?)
        })?;
        println!("joined     {} as \"{}\"", home.site().coordinator, home.site().site);
        println!("home       {}", self.home.display());
        println!("identity   {}", home.identity());
        println!("policy     {}", self.home.join("policy.toml").display());
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    fn run(self) -> anyhow::Result<ExitCode> {
        log();
        let home = Home::open(&self.home)?;
        let task = if self.task.is_empty() { home.site().site.clone() } else { self.task };
        let data = SiteData { train: &self.data, held_out: self.held_out.as_deref(), task: &task };
        let outcome = block_on(async {
            let site = Site::open(home, &self.base, &data)?;
            Ok(site.run(observer().as_mut()).await?)
        })?;
        Ok(if outcome.outcome == "succeeded" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Train {
    fn run(self) -> anyhow::Result<ExitCode> {
        let text = std::fs::read_to_string(&self.recipe)
            .with_context(|| format!("{} cannot be read", self.recipe.display()))?;
        let recipe = Recipe::from_toml(&text)?;
        let mut data = Dataset::default();
        for path in &self.data {
            data.extend(Dataset::from_jsonl(path)?);
        }
        let mut trainer = BurnTrainer::new(BaseModel::open(&self.base)?);
        let start = recipe.adapter.initial(&trainer.shape(), recipe.training.seed)?;
        let job = local_job(&recipe);
        let mut observer = observer();
        observer.note(Note::Round { round: 1, rounds: 1, factors: job.factors });
        let watch = super::runtime::Stopwatch::start();
        let trained = trainer.train(&job, &start, &data, &mut |progress| {
            observer.note(Note::Step { progress, seconds: watch.seconds() });
            Flow::Continue
        })?;
        save_peft(&self.out, &recipe.adapter, &recipe.base.name, &trained.adapter)?;
        println!(
            "{}  loss {:.3} -> {:.3}  {} tokens in {:.1} s",
            self.out.display(),
            trained.loss_first,
            trained.loss_last,
            trained.tokens,
            watch.seconds()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// All rounds of a recipe as one local training. Methods that do not freeze A train both factors here.
pub(crate) fn local_job(recipe: &Recipe) -> TrainJob {
    let mut training = recipe.training.clone();
    training.steps = training.steps.saturating_mul(recipe.federation.rounds);
    let factors = match recipe.federation.method {
        chancery_proto::Method::Ffa => Factors::B,
        _ => Factors::Both,
    };
    TrainJob {
        adapter: recipe.adapter.clone(),
        factors,
        site_seed: training.seed,
        training,
        round: 1,
        rounds: 1,
    }
}

impl Eval {
    fn run(self) -> anyhow::Result<ExitCode> {
        let data = Dataset::from_jsonl(&self.data)?;
        let mut trainer = BurnTrainer::new(BaseModel::open(&self.base)?);
        let adapter = self.adapter.as_deref().map(load_peft).transpose()?;
        let adapter = adapter.as_ref().map(|(config, tensors)| (config, tensors));
        let length = self.max_length as usize;
        let scored = trainer.evaluate(adapter, &data, length, &mut || Flow::Continue)?;
        if self.json {
            println!(
                "{}",
                serde_json::json!({
                    "loss": scored.loss,
                    "accuracy": scored.accuracy,
                    "examples": scored.examples,
                })
            );
        } else {
            println!(
                "loss {:.4}  accuracy {:.1} %  {} examples",
                scored.loss,
                scored.accuracy * 100.0,
                scored.examples
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
