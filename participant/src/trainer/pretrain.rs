//! Training every weight of a small model from scratch on a stream of tokens.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use super::TrainError;
use super::adamw::{AdamW, clip};
use crate::model::{Batch, Llama, Weights};

/// How a model is pre-trained.
#[derive(Clone, Copy, Debug)]
pub struct Pretraining {
    /// Optimiser steps.
    pub steps: u32,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of warm-up; a cosine to a tenth of the peak follows.
    pub warmup: u32,
    /// Decoupled weight decay of everything but norms.
    pub weight_decay: f64,
}

/// Trains all weights. `batches` gives sequences one token longer than what the model sees, and
/// `each` is told the step and its loss.
pub fn pretrain(
    llama: &mut Llama,
    settings: &Pretraining,
    mut batches: impl FnMut(u32) -> Batch,
    mut each: impl FnMut(u32, f64),
) -> Result<(), TrainError> {
    let config = llama.config().clone();
    let broken = || TrainError::Adapter { why: "the weights have no layout".to_owned() };
    let mut tensors: Vec<_> = llama
        .weights()
        .tensors()
        .into_iter()
        .map(|tensor| tensor.detach().require_grad())
        .collect();
    let mut optimiser = AdamW::new(&tensors, settings.weight_decay);
    for step in 1..=settings.steps {
        llama.set_weights(Weights::from_tensors(&config, tensors.clone()).ok_or_else(broken)?);
        let (inputs, targets) = shift(&batches(step));
        let count = targets.len();
        let log_p = log_softmax(llama.logits(&inputs, None), 1);
        let target: Tensor<2, Int> =
            Tensor::from_data(TensorData::new(targets, [count, 1]), llama.device());
        let loss = log_p.gather(1, target).mean().neg();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        if !value.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let mut gradients = loss.backward();
        let found: Option<Vec<_>> =
            tensors.iter().map(|tensor| tensor.grad_remove(&mut gradients)).collect();
        let clipped = clip(found.ok_or_else(broken)?, 1.0);
        let norms: Vec<bool> = tensors.iter().map(|tensor| tensor.dims()[0] == 1).collect();
        tensors = optimiser.step(tensors, clipped, rate(settings, step), |index| !norms[index]);
        each(step, value);
    }
    let still = tensors.into_iter().map(Tensor::detach);
    llama.set_weights(Weights::from_tensors(&config, still).ok_or_else(broken)?);
    Ok(())
}

fn rate(settings: &Pretraining, step: u32) -> f64 {
    if step <= settings.warmup {
        return settings.learning_rate * f64::from(step) / f64::from(settings.warmup);
    }
    let span = f64::from((settings.steps - settings.warmup).max(1));
    let progress = f64::from(step - settings.warmup) / span;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
    settings.learning_rate * (0.1 + 0.9 * cosine)
}

/// Inputs are all but the last token of each row, targets all but the first.
fn shift(batch: &Batch) -> (Batch, Vec<i64>) {
    let length = batch.length - 1;
    let mut tokens = Vec::with_capacity(batch.rows * length);
    let mut targets = Vec::with_capacity(batch.rows * length);
    for row in batch.tokens.chunks(batch.length) {
        tokens.extend(&row[..length]);
        targets.extend(row[1..].iter().map(|id| i64::from(*id)));
    }
    (Batch { tokens, rows: batch.rows, length }, targets)
}
