//! A Llama model's weights, and their names in a Hugging Face checkpoint.

use burn::tensor::{Device, Tensor, TensorData};
use chancery_proto::Target;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::config::LlamaConfig;

/// One decoder layer. Linear weights are `[out, in]`, norms `[1, hidden]`.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// In the order of [`Target::ALL`].
    pub linear: [Tensor<2>; 7],
    /// Before attention.
    pub input_norm: Tensor<2>,
    /// Before the feed-forward layer.
    pub post_norm: Tensor<2>,
}

/// All weights of a model.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab, hidden]`.
    pub embedding: Tensor<2>,
    /// Decoder layers.
    pub layers: Vec<LayerWeights>,
    /// Before the head.
    pub norm: Tensor<2>,
    /// `[vocab, hidden]`; `None` when the head is the embedding.
    pub head: Option<Tensor<2>>,
}

/// Name and shape of every tensor of a checkpoint, in the order of [`Weights::tensors`]. Norms are
/// vectors in the file; here they have one row.
pub(crate) fn layout(config: &LlamaConfig) -> Vec<(String, [usize; 2])> {
    let shape = config.shape();
    let norm = [1, config.hidden_size];
    let vocabulary = [config.vocab_size, config.hidden_size];
    let mut names = vec![("model.embed_tokens.weight".to_owned(), vocabulary)];
    for layer in 0..config.num_hidden_layers {
        for target in Target::ALL {
            let block = target.block();
            let name = format!("model.layers.{layer}.{block}.{target}.weight");
            names.push((name, target.dimensions(&shape)));
        }
        names.push((format!("model.layers.{layer}.input_layernorm.weight"), norm));
        names.push((format!("model.layers.{layer}.post_attention_layernorm.weight"), norm));
    }
    names.push(("model.norm.weight".to_owned(), norm));
    if !config.tie_word_embeddings {
        names.push(("lm_head.weight".to_owned(), vocabulary));
    }
    names
}

impl Weights {
    /// Puts tensors in the order of [`layout`] into their places; `None` when some are missing.
    pub fn from_tensors(
        config: &LlamaConfig,
        tensors: impl IntoIterator<Item = Tensor<2>>,
    ) -> Option<Self> {
        let mut tensors = tensors.into_iter();
        let embedding = tensors.next()?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for _ in 0..config.num_hidden_layers {
            let linear: Vec<_> = tensors.by_ref().take(7).collect();
            layers.push(LayerWeights {
                linear: linear.try_into().ok()?,
                input_norm: tensors.next()?,
                post_norm: tensors.next()?,
            });
        }
        let norm = tensors.next()?;
        let head = if config.tie_word_embeddings { None } else { Some(tensors.next()?) };
        Some(Self { embedding, layers, norm, head })
    }

    /// All tensors in the order of the layout.
    pub fn tensors(&self) -> Vec<Tensor<2>> {
        let mut all = vec![self.embedding.clone()];
        for layer in &self.layers {
            all.extend(layer.linear.iter().cloned());
            all.push(layer.input_norm.clone());
            all.push(layer.post_norm.clone());
        }
        all.push(self.norm.clone());
        all.extend(self.head.clone());
        all
    }

    /// Weights to begin pre-training with: normal with deviation 0.02, residual outputs scaled by
    /// `1/sqrt(2 layers)` (GPT-2's rule), norms one.
    pub fn initial(config: &LlamaConfig, seed: u64, device: &Device) -> Option<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        let tensors: Vec<_> = layout(config)
            .into_iter()
            .map(|(name, shape)| {
                let count = shape[0] * shape[1];
                let values: Vec<f32> = if name.ends_with("norm.weight") {
                    vec![1.0; count]
                } else {
                    let writes =
                        name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
                    let deviation = if writes { residual } else { 0.02 };
                    (0..count).map(|_| normal(&mut rng) * deviation).collect()
                };
                Tensor::from_data(TensorData::new(values, shape), device)
            })
            .collect();
        Self::from_tensors(config, tensors)
    }
}

/// A standard normal number (Box and Muller, 1958).
fn normal(rng: &mut ChaCha20Rng) -> f32 {
    let uniform =
        |rng: &mut ChaCha20Rng| ((rng.next_u32() >> 8) as f32 + 0.5) / (1u32 << 24) as f32;
    let (u, v) = (uniform(rng), uniform(rng));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
