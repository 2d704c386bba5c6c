//! The Llama decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

use std::path::Path;

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::checkpoint;
use super::config::LlamaConfig;
use super::lora::Lora;
use super::rope::Rope;
use super::weights::{LayerWeights, Weights};
use crate::trainer::TrainError;

/// Sequences of one length; shorter ones are filled up at the end, where causal attention keeps the
/// filling from being seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `rows * length` token ids.
    pub tokens: Vec<u32>,
    /// Sequences.
    pub rows: usize,
    /// Tokens per sequence.
    pub length: usize,
}

/// A Llama model on a device.
#[derive(Clone, Debug)]
pub struct Llama {
    config: LlamaConfig,
    weights: Weights,
    device: Device,
}

impl Llama {
    /// A model of these weights.
    pub fn new(config: LlamaConfig, weights: Weights) -> Self {
        let device = weights.embedding.device();
        Self { config, weights, device }
    }

    /// A model to begin pre-training with.
    pub fn initial(config: LlamaConfig, seed: u64) -> Result<Self, TrainError> {
        let weights = Weights::initial(&config, seed, &super::device()).ok_or_else(|| {
            TrainError::Adapter { why: "the configuration has no layout".to_owned() }
        })?;
        Ok(Self::new(config, weights))
    }

    /// What the model is made of.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The device it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The same model with other weights.
    pub fn set_weights(&mut self, weights: Weights) {
        self.weights = weights;
    }

    /// Writes `model.safetensors` in bf16.
    pub fn save_weights(&self, dir: &Path) -> Result<(), TrainError> {
        checkpoint::save(dir, &self.config, &self.weights)
    }

    /// The head, `[vocab, hidden]`.
    pub(crate) fn head(&self) -> &Tensor<2> {
        self.weights.head.as_ref().unwrap_or(&self.weights.embedding)
    }

    /// The last hidden states, normalised, `[rows * length, hidden]`.
    pub fn hidden(&self, batch: &Batch, lora: Option<&Lora>) -> Tensor<2> {
        let ids: Vec<i64> = batch.tokens.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &self.device);
        let mut x = self.weights.embedding.clone().select(0, ids);
        let rope = Rope::new(&self.config, batch.length, &self.device);
        let mask = self.causal_mask(batch.length);
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let pass = Pass { llama: self, layer, index, lora, batch };
            let normed = self.norm(x.clone(), &layer.input_norm);
            x = x + pass.attention(&normed, &rope, &mask);
            let normed = self.norm(x.clone(), &layer.post_norm);
            x = x + pass.feed_forward(&normed);
        }
        self.norm(x, &self.weights.norm)
    }

    /// Logits of every position, `[rows * length, vocab]`.
    pub fn logits(&self, batch: &Batch, lora: Option<&Lora>) -> Tensor<2> {
        self.hidden(batch, lora).matmul(self.head().clone().transpose())
    }

    /// RMSNorm (Zhang and Sennrich, 2019).
    fn norm(&self, x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
        let mean = x.clone().square().mean_dim(1).add_scalar(self.config.rms_norm_eps);
        x.div(mean.sqrt()).mul(weight.clone())
    }

    /// Minus infinity where a position must not look, once for every query head of a group:
    /// `[1, 1, groups * length, length]`.
    fn causal_mask(&self, length: usize) -> Tensor<4> {
        let shape = self.config.shape();
        let groups = shape.num_attention_heads / shape.num_key_value_heads;
        let values: Vec<f32> = (0..groups * length)
            .flat_map(|row| {
                (0..length)
                    .map(move |column| if column > row % length { f32::NEG_INFINITY } else { 0.0 })
            })
            .collect();
        Tensor::from_data(TensorData::new(values, [1, 1, groups * length, length]), &self.device)
    }
}

/// One layer's forward pass.
struct Pass<'a> {
    llama: &'a Llama,
    layer: &'a LayerWeights,
    index: usize,
    lora: Option<&'a Lora>,
    batch: &'a Batch,
}

impl Pass<'_> {
    /// Module `index` of [`chancery_proto::Target::ALL`], adapter included.
    fn linear(&self, index: usize, x: &Tensor<2>) -> Tensor<2> {
        let y = x.clone().matmul(self.layer.linear[index].clone().transpose());
        match self.lora.and_then(|lora| lora.side(self.index, index, x)) {
            Some(side) => y + side,
            None => y,
        }
    }

    /// Causal self-attention. The query heads that share a key head are laid one below the other, so
    /// keys and values are never repeated.
    fn attention(&self, x: &Tensor<2>, rope: &Rope, mask: &Tensor<4>) -> Tensor<2> {
        let shape = self.llama.config.shape();
        let (heads, keys, width) =
            (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim);
        let (rows, length) = (self.batch.rows, self.batch.length);
        let split = |x: Tensor<2>, heads: usize| -> Tensor<4> {
            x.reshape([rows, length, heads, width]).swap_dims(1, 2)
        };
        let q = rope.apply(split(self.linear(0, x), heads));
        let k = rope.apply(split(self.linear(1, x), keys));
        let v = split(self.linear(2, x), keys);
        let q = q.mul_scalar((width as f64).powf(-0.5));
        let q: Tensor<4> = q.reshape([rows, keys, heads / keys * length, width]);
        let scores = softmax(q.matmul(k.swap_dims(2, 3)) + mask.clone(), 3);
        let mixed: Tensor<4> = scores.matmul(v).reshape([rows, heads, length, width]);
        let mixed: Tensor<2> = mixed.swap_dims(1, 2).reshape([rows * length, heads * width]);
        self.linear(3, &mixed)
    }

    /// SwiGLU (Shazeer, 2020).
    fn feed_forward(&self, x: &Tensor<2>) -> Tensor<2> {
        let gate = silu(self.linear(4, x));
        let up = self.linear(5, x);
        self.linear(6, &(gate * up))
    }
}
