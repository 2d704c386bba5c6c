//! A federation in one process and without a network: what each site would send is encoded, summed
//! and decoded exactly as in a real run, and the accuracy per task is printed after every round.
//!
//! ```text
//! cargo run --release --example federation -- examples/verticals.toml
//! ```

use std::path::Path;

use anyhow::Context as _;
use chancery_participant::{BaseModel, BurnTrainer, Dataset, Flow, TrainJob, Trainer};
use chancery_proto::{Accumulator, Recipe, Ring, Tensors};

const SITES: [&str; 3] = ["hospital", "legal", "industry"];

fn main() -> anyhow::Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let recipe = std::env::args().nth(1).context("name a recipe: examples/verticals.toml")?;
    let recipe = Recipe::from_toml(&std::fs::read_to_string(recipe)?)?;
    let mut trainer = BurnTrainer::new(BaseModel::open(&examples.join("base"))?);
    let load = |split: &str| {
        SITES
            .iter()
            .map(|site| Dataset::from_jsonl(&examples.join(format!("data/{site}/{split}.jsonl"))))
            .collect::<Result<Vec<_>, _>>()
    };
    let (train, test) = (load("train")?, load("test")?);
    let mut adapter = recipe.adapter.initial(&trainer.shape(), recipe.training.seed)?;
    print(0, &mut trainer, &recipe, None, &test)?;
    for round in 1..=recipe.federation.rounds {
        adapter = step(round, &mut trainer, &recipe, &adapter, &train)?;
        print(round, &mut trainer, &recipe, Some(&adapter), &test)?;
    }
    Ok(())
}

/// One round: every site trains from the same adapter, and the weighted mean of the deltas counts.
fn step(
    round: u32,
    trainer: &mut BurnTrainer,
    recipe: &Recipe,
    adapter: &Tensors,
    data: &[Dataset],
) -> anyhow::Result<Tensors> {
    let factors = recipe.federation.method.factors(round);
    let cap = data.iter().map(Dataset::len).max().unwrap_or(1) as u32;
    let ring = Ring::for_cohort(recipe.codec.bits, recipe.codec.clip, cap, data.len() as u32);
    let mut layout = recipe.adapter.layout(&trainer.shape());
    layout.retain(|(name, _)| factors.trains_tensor(name));
    let elements = layout.iter().map(|(_, shape)| shape[0] * shape[1]).sum();
    let mut sum = Accumulator::new(&ring, elements)?;
    for (site, data) in data.iter().enumerate() {
        let job = TrainJob {
            adapter: recipe.adapter.clone(),
            factors,
            training: recipe.training.clone(),
            round,
            rounds: recipe.federation.rounds,
            site_seed: u64::from(round) * 1000 + site as u64,
        };
        let trained = trainer.train(&job, adapter, data, &mut |_| Flow::Continue)?;
        let delta: Vec<f32> = layout
            .iter()
            .filter_map(|(name, _)| trained.adapter.get(name).zip(adapter.get(name)))
            .flat_map(|(new, old)| new.data().iter().zip(old.data()).map(|(new, old)| new - old))
            .collect();
        let encoded = ring.encode(&delta, data.len() as u64, [site as u8; 32])?;
        println!(
            "  {:<9} loss {:.3} -> {:.3}  {} bytes  quantisation error {:.4}  clipped {:.4}",
            SITES[site],
            trained.loss_first,
            trained.loss_last,
            encoded.bytes.len(),
            encoded.error,
            encoded.clipped
        );
        sum.add(encoded.bytes.as_slice())?;
    }
    let mean = sum.finish()?;
    let mut next = adapter.clone();
    let mut values = mean.values.iter();
    for (name, _) in &layout {
        if let Some(tensor) = next.get_mut(name) {
            tensor.data_mut().iter_mut().zip(values.by_ref()).for_each(|(x, delta)| *x += delta);
        }
    }
    Ok(next)
}

fn print(
    round: u32,
    trainer: &mut BurnTrainer,
    recipe: &Recipe,
    adapter: Option<&Tensors>,
    test: &[Dataset],
) -> anyhow::Result<()> {
    print!("round {round:>2}");
    for (site, data) in SITES.iter().zip(test) {
        let adapter = adapter.map(|adapter| (&recipe.adapter, adapter));
        let length = recipe.training.max_length as usize;
        let scored = trainer.evaluate(adapter, data, length, &mut || Flow::Continue)?;
        print!("  {site} {:>5.1} %", scored.accuracy * 100.0);
    }
    println!();
    Ok(())
}
