//! The sites of the examples, and one round among them.

use std::path::Path;

use chancery_participant::{BurnTrainer, Dataset, Flow, TrainJob, Trained, Trainer as _};
use chancery_proto::{Accumulator, Recipe, Ring, Tensors};

/// The institutions of the examples, in the order of the table's columns.
pub(crate) const SITES: [&str; 3] = ["hospital", "legal", "industry"];

/// All sites on one machine, and the recipe that they follow.
pub(crate) struct Cohort {
    pub(crate) trainer: BurnTrainer,
    pub(crate) recipe: Recipe,
    pub(crate) train: Vec<Dataset>,
    pub(crate) test: Vec<Dataset>,
    /// Whether updates travel as f32, both factors both ways, as they do elsewhere.
    pub(crate) float: bool,
}

/// What the sites of one round sent.
pub(crate) struct Sent {
    /// All updates together.
    pub(crate) bytes: usize,
    /// What every site gets back.
    pub(crate) down: usize,
    /// The largest quantisation error of any update, relative to the update.
    pub(crate) error: f64,
    /// The mean of the sites' last losses.
    pub(crate) loss: f64,
}

/// Every site's examples of one split.
pub(crate) fn load(folder: &Path, split: &str) -> anyhow::Result<Vec<Dataset>> {
    SITES
        .iter()
        .map(|site| Ok(Dataset::from_jsonl(&folder.join(format!("{site}/{split}.jsonl")))?))
        .collect()
}

impl Cohort {
    /// The adapter that everybody starts from.
    pub(crate) fn initial(&self) -> anyhow::Result<Tensors> {
        Ok(self.recipe.adapter.initial(&self.trainer.shape(), self.recipe.training.seed)?)
    }

    /// One round: every site trains from the same adapter, and the weighted mean of the deltas counts.
    pub(crate) fn round(&mut self, round: u32, from: &Tensors) -> anyhow::Result<(Tensors, Sent)> {
        let codec = self.recipe.codec;
        let cap = self.train.iter().map(Dataset::len).max().unwrap_or(1) as u32;
        let ring = Ring::for_cohort(codec.bits, codec.clip, cap, self.train.len() as u32);
        let factors = self.recipe.federation.method.factors(round);
        let mut layout = self.recipe.adapter.layout(&self.trainer.shape());
        layout.retain(|(name, _)| factors.trains_tensor(name));
        let elements = layout.iter().map(|(_, shape)| shape[0] * shape[1]).sum();
        let mut sum = Accumulator::new(&ring, elements)?;
        let total: f32 = self.train.iter().map(|data| data.len() as f32).sum();
        let mut plain = vec![0f32; if self.float { elements } else { 0 }];
        let mut sent = Sent { bytes: 0, down: 0, error: 0.0, loss: 0.0 };
        for site in 0..self.train.len() {
            let trained = self.alone(site, round, 1, from)?;
            let delta: Vec<f32> = layout
                .iter()
                .filter_map(|(name, _)| trained.adapter.get(name).zip(from.get(name)))
                .flat_map(|(new, old)| {
                    new.data().iter().zip(old.data()).map(|(new, old)| new - old)
                })
                .collect();
            if self.float {
                let share = self.train[site].len() as f32 / total;
                plain.iter_mut().zip(&delta).for_each(|(sum, delta)| *sum += share * delta);
                sent.bytes += 4 * from.elements();
                sent.down = 4 * from.elements();
                sent.loss += trained.loss_last / self.train.len() as f64;
                continue;
            }
            let encoded = ring.encode(&delta, self.train[site].len() as u64, [site as u8; 32])?;
            sum.add(encoded.bytes.as_slice())?;
            sent.bytes += encoded.bytes.len();
            sent.error = sent.error.max(encoded.error);
            sent.loss += trained.loss_last / self.train.len() as f64;
        }
        if !self.float {
            sent.down = sum.to_packed().len();
            plain = sum.finish()?.values;
        }
        let mut next = from.clone();
        let mut values = plain.iter();
        for (name, _) in &layout {
            if let Some(tensor) = next.get_mut(name) {
                tensor
                    .data_mut()
                    .iter_mut()
                    .zip(values.by_ref())
                    .for_each(|(x, delta)| *x += delta);
            }
        }
        Ok((next, sent))
    }

    /// One site's part of a round, with `times` as many steps.
    pub(crate) fn alone(
        &mut self,
        site: usize,
        round: u32,
        times: u32,
        from: &Tensors,
    ) -> anyhow::Result<Trained> {
        let mut training = self.recipe.training.clone();
        training.steps *= times;
        training.warmup *= times;
        let job = TrainJob {
            adapter: self.recipe.adapter.clone(),
            factors: self.recipe.federation.method.factors(round),
            training,
            round,
            rounds: self.recipe.federation.rounds,
            site_seed: u64::from(round) * 1000 + site as u64,
        };
        Ok(self.trainer.train(&job, from, &self.train[site], &mut |_| Flow::Continue)?)
    }

    /// All rounds at one site, `times` as long.
    pub(crate) fn alone_to_the_end(&mut self, site: usize, times: u32) -> anyhow::Result<Tensors> {
        let mut adapter = self.initial()?;
        for round in 1..=self.recipe.federation.rounds {
            adapter = self.alone(site, round, times, &adapter)?.adapter;
        }
        Ok(adapter)
    }

    /// The share of right answers on every site's held-out examples.
    pub(crate) fn accuracy(&mut self, adapter: Option<&Tensors>) -> anyhow::Result<Vec<f64>> {
        Ok(self.scores(adapter)?.into_iter().map(|(_, accuracy)| accuracy).collect())
    }

    /// Loss and share of right answers on every site's held-out examples.
    pub(crate) fn scores(&mut self, adapter: Option<&Tensors>) -> anyhow::Result<Vec<(f64, f64)>> {
        let length = self.recipe.training.max_length as usize;
        let adapter = adapter.map(|adapter| (&self.recipe.adapter, adapter));
        self.test
            .iter()
            .map(|data| {
                let scored =
                    self.trainer.evaluate(adapter, data, length, &mut || Flow::Continue)?;
                Ok((scored.loss, scored.accuracy))
            })
            .collect()
    }
}
