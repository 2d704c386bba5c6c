//! Local fine-tuning: what a round asks for, and what comes back.

mod adamw;
mod burn;
mod loss;
mod pretrain;
mod shuffle;

use std::path::PathBuf;

use chancery_proto::{AdapterConfig, Factors, Tensors, Training};
use thiserror::Error;

pub use burn::{BurnTrainer, Gradients};
pub use pretrain::{Pretraining, pretrain};

use crate::data::Dataset;

/// One round's training at one site.
#[derive(Clone, Debug)]
pub struct TrainJob {
    /// Rank, scale and modules.
    pub adapter: AdapterConfig,
    /// The factors that train.
    pub factors: Factors,
    /// Steps, batch, optimiser.
    pub training: Training,
    /// From 1.
    pub round: u32,
    /// Warm-up and cosine run over all rounds together.
    pub rounds: u32,
    /// Decides the order of the examples.
    pub site_seed: u64,
}

/// One optimiser step is done.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// From 1.
    pub step: u32,
    /// Of how many.
    pub steps: u32,
    /// Mean over the step's completion tokens.
    pub loss: f64,
    /// Tokens since the training began, prompts included.
    pub tokens: u64,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Continue,
    /// No; the training ends with [`TrainError::Stopped`].
    Stop,
}

/// What a training produced.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The whole adapter; factors that do not train are as they were.
    pub adapter: Tensors,
    /// The first step's loss.
    pub loss_first: f64,
    /// The last step's loss.
    pub loss_last: f64,
    /// Optimiser steps.
    pub steps: u32,
    /// Tokens that went through, prompts included.
    pub tokens: u64,
}

/// Figures on held-out examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean over completion tokens, in nats.
    pub loss: f64,
    /// Share of examples whose whole completion, end of text included, greedy decoding would give.
    pub accuracy: f64,
    /// Examples.
    pub examples: usize,
}

/// An engine that fine-tunes and scores adapters on one base model.
pub trait Trainer: Send {
    /// Trains for one round. The same arguments give the same bytes.
    fn train(
        &mut self,
        job: &TrainJob,
        adapter: &Tensors,
        data: &Dataset,
        progress: &mut dyn FnMut(Progress) -> Flow,
    ) -> Result<Trained, TrainError>;

    /// Scores the base model, or an adapter on it. `alive` is called now and then.
    fn evaluate(
        &mut self,
        adapter: Option<(&AdapterConfig, &Tensors)>,
        data: &Dataset,
        max_length: usize,
        alive: &mut dyn FnMut() -> Flow,
    ) -> Result<Evaluation, TrainError>;
}

/// Why a training or a scoring failed.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A file of the base model or of an adapter.
    #[error("{}: {why}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of examples.
    #[error("{}{}: {why}\n  fix:  each line is {{\"prompt\": \"...\", \"completion\": \"...\"}}", path.display(), if *line > 0 { format!(", line {line}") } else { String::new() })]
    Data {
        /// The file.
        path: PathBuf,
        /// From 1; 0 for the whole file.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The tokenizer.
    #[error("tokenizer: {why}")]
    Tokenizer {
        /// What is wrong.
        why: String,
    },
    /// An adapter that does not fit the base model.
    #[error("the adapter does not fit the base model: {why}")]
    Adapter {
        /// What does not fit.
        why: String,
    },
    /// The loss is not a number any more.
    #[error(
        "training diverged at step {step}: the loss is not a number\n  fix:  lower training.learning_rate"
    )]
    Diverged {
        /// The step.
        step: u32,
    },
    /// Somebody asked to stop.
    #[error("training was stopped")]
    Stopped,
}

impl TrainError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "CH2101",
            Self::Data { .. } => "CH2102",
            Self::Tokenizer { .. } => "CH2103",
            Self::Adapter { .. } => "CH2104",
            Self::Diverged { .. } => "CH2105",
            Self::Stopped => "CH2106",
        }
    }
}
