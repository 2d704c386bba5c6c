//! The burn engine: LoRA on a frozen Llama.

use burn::tensor::Tensor;
use chancery_proto::{AdapterConfig, BaseShape, Factors, Tensor as Named, Tensors};

use super::adamw::{AdamW, clip};
use super::loss::{Lesson, score};
use super::shuffle::Shuffle;
use super::{Evaluation, Flow, Progress, TrainError, TrainJob, Trained, Trainer};
use crate::data::{Dataset, Sequence};
use crate::model::{BaseModel, Batch, Lora};

/// Sequences that are scored together.
const EVALUATION_BATCH: usize = 32;

/// Fine-tunes adapters on one base model.
#[derive(Debug)]
pub struct BurnTrainer {
    model: BaseModel,
}

/// Loss and gradients of one batch, for comparison with other implementations.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Mean over completion tokens.
    pub loss: f64,
    /// By PEFT name.
    pub gradients: Tensors,
}

impl BurnTrainer {
    /// An engine on this base model.
    pub fn new(model: BaseModel) -> Self {
        Self { model }
    }

    /// The dimensions that an adapter's shapes follow from.
    pub fn shape(&self) -> BaseShape {
        self.model.shape()
    }

    /// Logits of every position, row-major `[tokens, vocab]`.
    pub fn logits(
        &self,
        batch: &Batch,
        adapter: Option<(&AdapterConfig, &Tensors)>,
    ) -> Result<Vec<f32>, TrainError> {
        let lora = self.lora(adapter, None)?;
        let logits = self.model.llama().logits(batch, lora.as_ref());
        logits.try_to_vec_as().map_err(unreadable)
    }

    /// Mean loss of all sequences as one batch, and its gradients for both factors.
    pub fn gradients(
        &self,
        config: &AdapterConfig,
        adapter: &Tensors,
        sequences: &[Sequence],
    ) -> Result<Gradients, TrainError> {
        let (mut lora, loss, gradients) = self.whole_batch(config, adapter, sequences)?;
        let mut named = Tensors::new();
        for ((name, _), gradient) in lora.trainable(Factors::Both).into_iter().zip(gradients) {
            named.insert(name, to_named(gradient)?);
        }
        Ok(Gradients { loss, gradients: named })
    }

    /// The adapter after one unclipped AdamW step on all sequences as one batch.
    pub fn step(
        &self,
        config: &AdapterConfig,
        adapter: &Tensors,
        sequences: &[Sequence],
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<Tensors, TrainError> {
        let (mut lora, _, gradients) = self.whole_batch(config, adapter, sequences)?;
        let old: Vec<_> =
            lora.trainable(Factors::Both).into_iter().map(|(_, tensor)| tensor.clone()).collect();
        let mut optimiser = AdamW::new(&old, weight_decay);
        let new = optimiser.step(old, gradients, learning_rate, |_| true);
        let mut stepped = Tensors::new();
        for ((name, _), tensor) in lora.trainable(Factors::Both).into_iter().zip(new) {
            stepped.insert(name, to_named(tensor.inner())?);
        }
        Ok(stepped)
    }

    fn whole_batch(
        &self,
        config: &AdapterConfig,
        adapter: &Tensors,
        sequences: &[Sequence],
    ) -> Result<(Lora, f64, Vec<Tensor<2>>), TrainError> {
        let all: Vec<&Sequence> = sequences.iter().collect();
        let lesson = Lesson::new(&all);
        let count = lesson.learnt();
        let device = self.model.llama().device();
        let mut lora = Lora::new(config, &self.shape(), adapter, Some(Factors::Both), device)?;
        let (loss, sum) = self.backward(&mut lora, Factors::Both, &[lesson])?;
        let mean = sum.into_iter().map(|gradient| gradient.div_scalar(count as f32)).collect();
        Ok((lora, loss / count as f64, mean))
    }

    fn lora(
        &self,
        adapter: Option<(&AdapterConfig, &Tensors)>,
        factors: Option<Factors>,
    ) -> Result<Option<Lora>, TrainError> {
        let device = self.model.llama().device();
        adapter
            .map(|(config, tensors)| Lora::new(config, &self.shape(), tensors, factors, device))
            .transpose()
    }

    fn tokenize(&self, data: &Dataset, max_length: usize) -> Result<Vec<Sequence>, TrainError> {
        let sequences =
            data.tokenize(self.model.tokenizer(), self.model.llama().config().eos(), max_length)?;
        let vocabulary = self.model.llama().config().vocab_size;
        let most = sequences.iter().flat_map(|s| &s.tokens).max().copied().unwrap_or(0);
        if most as usize >= vocabulary {
            let why = format!("it makes token {most}, but the model knows {vocabulary}");
            return Err(TrainError::Tokenizer { why });
        }
        Ok(sequences)
    }

    /// Summed loss of several lessons, and the summed gradients of the factors that train.
    fn backward(
        &self,
        lora: &mut Lora,
        factors: Factors,
        lessons: &[Lesson],
    ) -> Result<(f64, Vec<Tensor<2>>), TrainError> {
        let llama = self.model.llama();
        let mut total = 0.0;
        let mut sum: Vec<Tensor<2>> = Vec::new();
        for lesson in lessons {
            let hidden = llama.hidden(&lesson.batch, Some(lora));
            let outcome = score(hidden, llama.head(), lesson, true);
            total += outcome.loss;
            let Some(surrogate) = outcome.surrogate else { continue };
            let mut gradients = surrogate.backward();
            let found: Option<Vec<_>> = lora
                .trainable(factors)
                .into_iter()
                .map(|(_, tensor)| tensor.grad_remove(&mut gradients))
                .collect();
            let found = found.ok_or_else(|| TrainError::Adapter {
                why: "a factor that trains got no gradient".to_owned(),
            })?;
            sum = if sum.is_empty() {
                found
            } else {
                sum.into_iter().zip(found).map(|(sum, found)| sum + found).collect()
            };
        }
        Ok((total, sum))
    }
}

impl Trainer for BurnTrainer {
    fn train(
        &mut self,
        job: &TrainJob,
        adapter: &Tensors,
        data: &Dataset,
        progress: &mut dyn FnMut(Progress) -> Flow,
    ) -> Result<Trained, TrainError> {
        let training = &job.training;
        let factors = job.factors;
        let sequences = self.tokenize(data, training.max_length as usize)?;
        let device = self.model.llama().device();
        let mut lora = Lora::new(&job.adapter, &self.shape(), adapter, Some(factors), device)?;
        let trained: Vec<_> = lora.trainable(factors).into_iter().map(|(_, t)| t.clone()).collect();
        let mut optimiser = AdamW::new(&trained, training.weight_decay);
        let mut shuffle = Shuffle::new(sequences.len(), job.site_seed);
        let total = u64::from(training.steps) * u64::from(job.rounds);
        let before = u64::from(training.steps) * u64::from(job.round.saturating_sub(1));
        let (mut loss_first, mut loss_last, mut tokens) = (f64::NAN, f64::NAN, 0);
        for step in 1..=training.steps {
            let mut lessons = Vec::new();
            for _ in 0..training.accumulation {
                let picked: Vec<&Sequence> = shuffle
                    .take(training.batch as usize)
                    .into_iter()
                    .map(|index| &sequences[index])
                    .collect();
                tokens += Lesson::tokens(&picked);
                lessons.push(Lesson::new(&picked));
            }
            let learnt: usize = lessons.iter().map(Lesson::learnt).sum();
            let (loss, gradients) = self.backward(&mut lora, factors, &lessons)?;
            loss_last = loss / learnt as f64;
            if !loss_last.is_finite() {
                return Err(TrainError::Diverged { step });
            }
            if step == 1 {
                loss_first = loss_last;
            }
            let mut mean: Vec<_> =
                gradients.into_iter().map(|g| g.div_scalar(learnt as f32)).collect();
            if training.proximal > 0.0 {
                mean = pulled(mean, &lora.trainable(factors), &trained, training.proximal);
            }
            let clipped = clip(mean, training.clip_norm);
            let rate = training.learning_rate_at(before + u64::from(step) - 1, total);
            let old: Vec<_> =
                lora.trainable(factors).into_iter().map(|(_, tensor)| tensor.clone()).collect();
            let new = optimiser.step(old, clipped, rate, |_| true);
            for ((_, slot), tensor) in lora.trainable(factors).into_iter().zip(new) {
                *slot = tensor;
            }
            let now = Progress { step, steps: training.steps, loss: loss_last, tokens };
            if progress(now) == Flow::Stop {
                return Err(TrainError::Stopped);
            }
        }
        let mut result = adapter.clone();
        for (name, tensor) in lora.trainable(factors) {
            result.insert(name, to_named(tensor.clone().inner())?);
        }
        Ok(Trained { adapter: result, loss_first, loss_last, steps: training.steps, tokens })
    }

    fn evaluate(
        &mut self,
        adapter: Option<(&AdapterConfig, &Tensors)>,
        data: &Dataset,
        max_length: usize,
        alive: &mut dyn FnMut() -> Flow,
    ) -> Result<Evaluation, TrainError> {
        let sequences = self.tokenize(data, max_length)?;
        let lora = self.lora(adapter, None)?;
        let llama = self.model.llama();
        // Sequences of like length together waste the least on filling.
        let mut sorted: Vec<&Sequence> = sequences.iter().collect();
        sorted.sort_by_key(|sequence| sequence.tokens.len());
        let (mut loss, mut learnt, mut exact) = (0.0, 0, 0);
        for picked in sorted.chunks(EVALUATION_BATCH) {
            let lesson = Lesson::new(picked);
            let hidden = llama.hidden(&lesson.batch, lora.as_ref());
            let outcome = score(hidden, llama.head(), &lesson, false);
            loss += outcome.loss;
            learnt += lesson.learnt();
            exact += outcome.exact;
            if alive() == Flow::Stop {
                return Err(TrainError::Stopped);
            }
        }
        Ok(Evaluation {
            loss: loss / learnt as f64,
            accuracy: exact as f64 / sequences.len() as f64,
            examples: sequences.len(),
        })
    }
}

/// FedProx: the gradient of the distance to where the round began is added.
fn pulled(
    gradients: Vec<Tensor<2>>,
    now: &[(String, &mut Tensor<2>)],
    began: &[Tensor<2>],
    strength: f64,
) -> Vec<Tensor<2>> {
    gradients
        .into_iter()
        .zip(now)
        .zip(began)
        .map(|((gradient, (_, now)), began)| {
            let away = (*now).clone().inner() - began.clone().inner();
            gradient + away.mul_scalar(strength as f32)
        })
        .collect()
}

fn to_named(tensor: Tensor<2>) -> Result<Named, TrainError> {
    let shape = tensor.dims().to_vec();
    let values = tensor.try_to_vec_as().map_err(unreadable)?;
    Named::new(shape, values).map_err(|e| TrainError::Adapter { why: e.to_string() })
}

fn unreadable(error: impl std::fmt::Debug) -> TrainError {
    TrainError::Adapter { why: format!("the device gave no values back: {error:?}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chancery_proto::{Factors, Recipe, SAMPLE};

    use super::*;

    /// How far a few steps take the example base's adapter from where it began.
    fn distance(proximal: f64) -> f64 {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut trainer = BurnTrainer::new(BaseModel::open(&examples.join("base")).unwrap());
        let data = Dataset::from_jsonl(&examples.join("data/hospital/train.jsonl")).unwrap();
        let mut recipe = Recipe::from_toml(SAMPLE).unwrap();
        recipe.adapter.rank = 2;
        (recipe.training.steps, recipe.training.batch) = (8, 2);
        (recipe.training.warmup, recipe.training.proximal) = (0, proximal);
        let start = recipe.adapter.initial(&trainer.shape(), 1).unwrap();
        let job = TrainJob {
            adapter: recipe.adapter,
            factors: Factors::B,
            training: recipe.training,
            round: 1,
            rounds: 1,
            site_seed: 1,
        };
        let trained = trainer.train(&job, &start, &data, &mut |_| Flow::Continue).unwrap();
        let squares = trained.adapter.iter().zip(start.iter()).flat_map(|((_, new), (_, old))| {
            new.data().iter().zip(old.data()).map(|(new, old)| f64::from(new - old).powi(2))
        });
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn fedprox_keeps_a_site_near_where_the_round_began() {
        let [free, held, tight] = [0.0, 1.0, 1000.0].map(distance);
        assert!(free > 1.02 * held && held > 1.5 * tight, "{free} {held} {tight}");
    }
}
