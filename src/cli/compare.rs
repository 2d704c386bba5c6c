//! What the federation is compared with: every institution alone, and everybody's data together.

use std::path::Path;

use chancery_participant::{BaseModel, BurnTrainer, Dataset, Flow, Trainer};
use chancery_proto::Recipe;

use super::demo::SITES;
use super::participant::local_job;

/// One line of the table.
pub(crate) struct Row {
    /// What was trained on what.
    pub(crate) name: String,
    /// In the order of the sites.
    pub(crate) accuracy: [Option<f64>; 3],
}

/// Trains each institution alone for as many steps as it does in the federation, and one adapter on
/// all data for as many samples as the federation sees together.
pub(crate) fn rows(recipe: &Recipe, examples: &Path) -> anyhow::Result<Vec<Row>> {
    let load = |site: &str, split: &str| {
        Dataset::from_jsonl(&examples.join(format!("data/{site}/{split}.jsonl")))
    };
    let mut trainer = BurnTrainer::new(BaseModel::open(&examples.join("base"))?);
    let mut rows = Vec::new();
    let mut pooled = Dataset::default();
    for (site, _) in SITES {
        let data = load(site, "train")?;
        rows.push(row(&mut trainer, recipe, &format!("only {site}"), &data, 1, examples)?);
        pooled.extend(data);
    }
    rows.push(row(&mut trainer, recipe, "pooled", &pooled, SITES.len() as u32, examples)?);
    Ok(rows)
}

fn row(
    trainer: &mut BurnTrainer,
    recipe: &Recipe,
    name: &str,
    data: &Dataset,
    times: u32,
    examples: &Path,
) -> anyhow::Result<Row> {
    let mut job = local_job(recipe);
    job.training.steps *= times;
    let start = recipe.adapter.initial(&trainer.shape(), recipe.training.seed)?;
    let trained = trainer.train(&job, &start, data, &mut |_| Flow::Continue)?;
    let length = recipe.training.max_length as usize;
    let mut accuracy = [None; 3];
    for (slot, (site, _)) in accuracy.iter_mut().zip(SITES) {
        let test = Dataset::from_jsonl(&examples.join(format!("data/{site}/test.jsonl")))?;
        let adapter = Some((&recipe.adapter, &trained.adapter));
        let scored = trainer.evaluate(adapter, &test, length, &mut || Flow::Continue)?;
        *slot = Some(scored.accuracy);
    }
    Ok(Row { name: name.to_owned(), accuracy })
}
