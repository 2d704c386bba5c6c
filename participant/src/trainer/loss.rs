//! Cross-entropy over the completions, without ever holding all logits.
//!
//! Only rows that predict a completion token reach the head. They do so in chunks, off the gradient
//! tape: a chunk's gradient with respect to its hidden states is `(softmax - onehot) W`, known in
//! closed form, and goes onto the tape as the constant factor of a product.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::data::Sequence;
use crate::model::Batch;

/// Rows whose logits are held at once.
const CHUNK: usize = 256;

/// Sequences of different length as one rectangle, and the positions that are learnt.
pub(crate) struct Lesson {
    pub(crate) batch: Batch,
    /// Rows of the flattened hidden states that predict a completion token.
    rows: Vec<i64>,
    /// What each of them should predict.
    targets: Vec<i64>,
    /// Which sequence each of them belongs to.
    owners: Vec<usize>,
}

impl Lesson {
    pub(crate) fn new(sequences: &[&Sequence]) -> Self {
        let length = sequences.iter().map(|s| s.tokens.len() - 1).max().unwrap_or(0);
        let mut lesson = Self {
            batch: Batch { tokens: Vec::new(), rows: sequences.len(), length },
            rows: Vec::new(),
            targets: Vec::new(),
            owners: Vec::new(),
        };
        for (owner, sequence) in sequences.iter().enumerate() {
            let start = lesson.batch.tokens.len();
            let inputs = &sequence.tokens[..sequence.tokens.len() - 1];
            lesson.batch.tokens.extend(inputs);
            lesson.batch.tokens.resize(start + length, 0);
            for position in sequence.completion..sequence.tokens.len() {
                lesson.rows.push((start + position - 1) as i64);
                lesson.targets.push(i64::from(sequence.tokens[position]));
                lesson.owners.push(owner);
            }
        }
        lesson
    }

    /// Completion tokens.
    pub(crate) fn learnt(&self) -> usize {
        self.rows.len()
    }

    /// Tokens that go through the model, filling not counted.
    pub(crate) fn tokens(sequences: &[&Sequence]) -> u64 {
        sequences.iter().map(|sequence| sequence.tokens.len() as u64).sum()
    }
}

/// What a lesson came to.
pub(crate) struct Outcome {
    /// Sum over completion tokens.
    pub(crate) loss: f64,
    /// Its gradient is the gradient of the summed loss.
    pub(crate) surrogate: Option<Tensor<1>>,
    /// Sequences whose every completion token is the most likely one.
    pub(crate) exact: usize,
}

/// Scores the hidden states of a lesson against the head, `[vocab, hidden]`.
pub(crate) fn score(
    hidden: Tensor<2>,
    head: &Tensor<2>,
    lesson: &Lesson,
    gradient: bool,
) -> Outcome {
    let device = hidden.device();
    let rows = Tensor::<1, Int>::from_data(
        TensorData::new(lesson.rows.clone(), [lesson.rows.len()]),
        &device,
    );
    let picked = hidden.select(0, rows);
    let still = picked.clone().inner();
    let head = head.clone().inner();
    let mut wrong = vec![false; lesson.batch.rows];
    let mut loss = 0.0;
    let mut slopes = Vec::new();
    for (chunk, targets) in lesson.targets.chunks(CHUNK).enumerate() {
        let count = targets.len();
        let x = still.clone().narrow(0, chunk * CHUNK, count);
        let log_p = log_softmax(x.matmul(head.clone().transpose()), 1);
        let target: Tensor<2, Int> =
            Tensor::from_data(TensorData::new(targets.to_vec(), [count, 1]), &log_p.device());
        let own = log_p.clone().gather(1, target.clone());
        let best = log_p.clone().max_dim(1);
        let behind: Vec<f32> = (best - own.clone()).try_to_vec_as().unwrap_or_default();
        let own_values: Vec<f32> = own.try_to_vec_as().unwrap_or_default();
        // A value that cannot be read back counts as not a number, and so ends the training.
        loss += if own_values.len() == count {
            own_values.iter().map(|x| -f64::from(*x)).sum::<f64>()
        } else {
            f64::NAN
        };
        let owners = lesson.owners.iter().skip(chunk * CHUNK);
        for (owner, behind) in owners.zip(&behind) {
            wrong[*owner] |= behind.is_nan() || *behind > 0.0;
        }
        if gradient {
            let one = Tensor::<2>::ones([count, 1], &log_p.device()).neg();
            let slope = log_p.exp().scatter(1, target, one, burn::tensor::IndexingUpdateOp::Add);
            slopes.push(slope.matmul(head.clone()));
        }
    }
    let surrogate =
        (!slopes.is_empty()).then(|| (picked * Tensor::from_inner(Tensor::cat(slopes, 0))).sum());
    Outcome { loss, surrogate, exact: wrong.iter().filter(|wrong| !**wrong).count() }
}
