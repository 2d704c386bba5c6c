//! The sites of the examples, and one round among them.

use std::path::Path;

use chancery_participant::{BurnTrainer, Dataset, Flow, TrainJob, Trained, Trainer as _};
use chancery_proto::aggregation::{Seen, ServerState};
use chancery_proto::secagg::Member;
use chancery_proto::{
    Accumulator, AdapterConfig, Deviation, Method, Moment, Plan, Recipe, Tensor, Tensors,
};
use chancery_provenance::Digest;

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
    /// The most ranks that each site trains.
    pub(crate) ranks: [Option<u32>; 3],
    /// What each site's updates have kept back so far.
    pub(crate) residuals: Vec<Tensors>,
}

/// What the sites of one round sent.
pub(crate) struct Sent {
    /// All updates together.
    pub(crate) bytes: usize,
    /// What every site gets back.
    pub(crate) down: usize,
    /// The largest quantisation error of any update, relative to the update.
    pub(crate) error: f64,
    /// What the new adapter misses of what the sites' adapters do together.
    pub(crate) missed: Option<Deviation>,
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

    /// The plan of a round from `from` on, as a coordinator would make it.
    fn plan(&self, round: u32, from: &Tensors) -> anyhow::Result<Plan> {
        let member = |site: usize| Member { pseudonym: SITES[site].to_owned(), identity: [0; 32] };
        Ok(Plan::new(
            &self.recipe,
            Moment {
                run: "example".to_owned(),
                round,
                base_shape: self.trainer.shape(),
                adapter_digest: Digest::of(&from.to_safetensors()?).to_string(),
                roster: (0..self.train.len())
                    .map(|site| (member(site), self.ranks[site]))
                    .collect(),
                samples: self.train.iter().map(Dataset::len).max().unwrap_or(1) as u64,
                sketch: None,
            },
        ))
    }

    /// One round: every site trains from the same adapter, and the weighted mean of the deltas counts.
    pub(crate) fn round(&mut self, round: u32, from: &Tensors) -> anyhow::Result<(Tensors, Sent)> {
        let plan = self.plan(round, from)?;
        let mut sent = Sent { bytes: 0, down: 0, error: 0.0, missed: None, loss: 0.0 };
        let mut trained = Vec::new();
        for site in 0..self.train.len() {
            let start = plan.start(site, from);
            let after = self.train(site, round, 1, &plan.adapter_of(site), &start)?;
            sent.loss += after.loss_last / self.train.len() as f64;
            trained.push(after.adapter);
        }
        if self.float {
            sent.bytes = 4 * from.elements() * trained.len();
            sent.down = 4 * from.elements();
            return Ok((self.mean(&trained), sent));
        }
        let mut updates = Vec::new();
        self.residuals.resize_with(trained.len(), Tensors::new);
        for (site, after) in trained.iter().enumerate() {
            let samples = self.train[site].len() as u64;
            let residual = self.recipe.codec.feedback.then_some(&mut self.residuals[site]);
            let start = plan.start(site, from);
            let update = plan.update(&start, after, residual, samples, [site as u8; 32])?;
            sent.bytes += update.bytes.len();
            sent.error = sent.error.max(update.error);
            updates.push(update.bytes);
        }
        let mut server = ServerState::new(from.clone());
        let sites: Vec<usize> = (0..updates.len()).collect();
        let open = |index: usize| Ok(updates[index].as_slice());
        let seen = Seen { plan: &plan, sites: &sites, open };
        if plan.method == Method::Stack {
            let stacked = seen.stack(&mut server)?;
            (sent.missed, sent.down) = (stacked.deviation, stacked.halves.len());
            return Ok((server.adapter, sent));
        }
        if !plan.method.is_exact() {
            sent.missed = seen.deviation(&server)?;
        }
        let mut sum = Accumulator::new(&plan.ring, plan.elements())?;
        for update in &updates {
            sum.add(update.as_slice())?;
        }
        sent.down = sum.to_packed().len();
        server.step(&plan, &sum.finish()?.values)?;
        Ok((server.adapter, sent))
    }

    /// The mean of the sites' adapters by their examples, as f32.
    fn mean(&self, adapters: &[Tensors]) -> Tensors {
        let total: f32 = self.train.iter().map(|data| data.len() as f32).sum();
        let mut mean = Tensors::new();
        for (site, adapter) in adapters.iter().enumerate() {
            let share = self.train[site].len() as f32 / total;
            for (name, tensor) in adapter.iter() {
                let mut part = tensor.clone();
                part.data_mut().iter_mut().for_each(|x| *x *= share);
                if let Some(sum) = mean.get(name) {
                    part.data_mut().iter_mut().zip(Tensor::data(sum)).for_each(|(x, y)| *x += y);
                }
                mean.insert(name, part);
            }
        }
        mean
    }

    /// One site's part of a round, with `times` as many steps.
    pub(crate) fn alone(
        &mut self,
        site: usize,
        round: u32,
        times: u32,
        from: &Tensors,
    ) -> anyhow::Result<Trained> {
        let adapter = self.recipe.adapter.clone();
        self.train(site, round, times, &adapter, from)
    }

    fn train(
        &mut self,
        site: usize,
        round: u32,
        times: u32,
        adapter: &AdapterConfig,
        from: &Tensors,
    ) -> anyhow::Result<Trained> {
        let mut training = self.recipe.training.clone();
        training.steps *= times;
        training.warmup *= times;
        let job = TrainJob {
            adapter: adapter.clone(),
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
