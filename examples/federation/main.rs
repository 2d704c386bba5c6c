//! A federation in one process and without a network: what each site would send is encoded, summed
//! and decoded exactly as in a real run, and the accuracy per task is printed after every round.
//!
//! ```text
//! cargo run --release --example federation -- examples/verticals.toml
//! cargo run --release --example federation -- examples/verticals.toml --compare
//! cargo run --release --example federation -- examples/verticals.toml --method rolora
//! cargo run --release --example federation -- examples/verticals.toml --table
//! ```
//!
//! `--table` runs several ways of sending at equal rounds and prints what each costs and gives.
//! `--compare` also trains every site alone, for as many steps as it trains in the federation, and
//! one adapter on everybody's examples together, for as many steps as all sites make together.

mod cohort;
mod table;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use chancery_participant::{BaseModel, BurnTrainer, Dataset};
use chancery_proto::{Method, PrivacyMode, Recipe};

use cohort::{Cohort, SITES, load};

fn main() -> anyhow::Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let (recipe, what) = arguments()?;
    let mut cohort = Cohort {
        float: false,
        ranks: [None; 3],
        residuals: Vec::new(),
        trainer: BurnTrainer::new(BaseModel::open(&examples.join("base"))?),
        recipe,
        train: load(&examples.join("data"), "train")?,
        test: load(&examples.join("data"), "test")?,
    };
    if what == What::Table {
        return table::print(&mut cohort);
    }
    println!("{:<18}{:>10}{:>10}{:>10}", "", SITES[0], SITES[1], SITES[2]);
    print("base", &cohort.accuracy(None)?, "");
    let federated = federate(&mut cohort)?;
    if what == What::Compare {
        for (site, name) in SITES.iter().enumerate() {
            let adapter = cohort.alone_to_the_end(site, 1)?;
            print(&format!("{name} alone"), &cohort.accuracy(Some(&adapter))?, "");
        }
        let pooled = pooled(&mut cohort)?;
        print("pooled", &pooled, "");
        let share: Vec<f64> = federated.iter().zip(&pooled).map(|(ours, all)| ours / all).collect();
        print("share of pooled", &share, "");
    }
    Ok(())
}

/// What to do besides training the federation.
#[derive(PartialEq)]
enum What {
    Nothing,
    Compare,
    Table,
}

/// The recipe with what the arguments change of it, and what to do.
fn arguments() -> anyhow::Result<(Recipe, What)> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("name a recipe: examples/verticals.toml")?;
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut recipe = Recipe::from_toml(&text)?;
    let mut what = What::Nothing;
    while let Some(argument) = arguments.next() {
        if let Some(chosen) = match argument.as_str() {
            "--compare" => Some(What::Compare),
            "--table" => Some(What::Table),
            _ => None,
        } {
            what = chosen;
            continue;
        }
        if argument == "--feedback" {
            recipe.codec.feedback = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
        match (argument.as_str(), value.as_str()) {
            ("--method", "ffa") => recipe.federation.method = Method::Ffa,
            ("--method", "rolora") => recipe.federation.method = Method::Rolora,
            ("--method", "fedit") => recipe.federation.method = Method::Fedit,
            ("--method", "stack") => {
                recipe.federation.method = Method::Stack;
                recipe.privacy.mode = PrivacyMode::Trusted;
            }
            ("--bits", bits) => recipe.codec.bits = bits.parse()?,
            ("--clip", clip) => recipe.codec.clip = clip.parse()?,
            ("--density", density) => recipe.codec.density = density.parse()?,
            ("--seed", seed) => recipe.training.seed = seed.parse()?,
            ("--rate", rate) => recipe.training.learning_rate = rate.parse()?,
            ("--rounds", rounds) => recipe.federation.rounds = rounds.parse()?,
            _ => bail!(
                "{argument} {value}: say --method ffa|rolora|fedit|stack, --bits, --clip, --density, --feedback, --rate, --rounds or --seed"
            ),
        }
    }
    recipe.check()?;
    Ok((recipe, what))
}

/// All rounds; the last one's accuracy.
#[expect(clippy::disallowed_methods, reason = "how long a step takes is what is measured")]
fn federate(cohort: &mut Cohort) -> anyhow::Result<Vec<f64>> {
    let mut adapter = cohort.initial()?;
    let mut accuracy = Vec::new();
    for round in 1..=cohort.recipe.federation.rounds {
        let begin = Instant::now();
        let (next, sent) = cohort.round(round, &adapter)?;
        let steps = f64::from(cohort.recipe.training.steps) * SITES.len() as f64;
        let seconds = begin.elapsed().as_secs_f64() / steps;
        adapter = next;
        accuracy = cohort.accuracy(Some(&adapter))?;
        let missed = sent
            .missed
            .map_or(String::new(), |missed| format!("  missed {:.1} %", missed.relative * 100.0));
        let note = format!(
            "loss {:.3}  {} bytes  quantisation error {:.4}{missed}  {seconds:.3} s/step",
            sent.loss, sent.bytes, sent.error,
        );
        print(&format!("round {round}"), &accuracy, &note);
    }
    Ok(accuracy)
}

/// The accuracy of one adapter trained on everybody's examples.
fn pooled(cohort: &mut Cohort) -> anyhow::Result<Vec<f64>> {
    let sites = cohort.train.len();
    let mut everything = Dataset::default();
    for data in &cohort.train {
        everything.extend(data.clone());
    }
    cohort.train.push(everything);
    let adapter = cohort.alone_to_the_end(sites, sites as u32)?;
    cohort.train.truncate(sites);
    cohort.accuracy(Some(&adapter))
}

fn print(row: &str, accuracy: &[f64], note: &str) {
    let cells: String = accuracy.iter().map(|x| format!("{:>8.1} %", x * 100.0)).collect();
    println!("{row:<18}{cells}  {note}");
}
