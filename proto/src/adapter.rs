//! LoRA adapters in PEFT's layout: which tensors there are, their shapes, and how they begin.
//!
//! A module `W` of shape `[out, in]` becomes `W + (alpha / r) * B A` with `A` of shape `[r, in]`
//! and `B` of shape `[out, r]` (Hu et al., "LoRA", 2021). The initial adapter is what PEFT makes:
//! `A` uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`), `B` zero, so that it changes nothing.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tensor::{Tensor, TensorError, Tensors};

/// The dimensions of a Llama-architecture base model that an adapter's shapes follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseShape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads (grouped-query attention when fewer than query heads).
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
}

impl BaseShape {
    /// Reads the dimensions from the text of a Hugging Face `config.json`.
    pub fn from_hf_config(text: &str) -> Result<Self, AdapterError> {
        #[derive(Deserialize)]
        struct HfConfig {
            hidden_size: usize,
            intermediate_size: usize,
            num_hidden_layers: usize,
            num_attention_heads: usize,
            num_key_value_heads: Option<usize>,
            head_dim: Option<usize>,
        }
        let hf: HfConfig =
            serde_json::from_str(text).map_err(|e| AdapterError::Config(e.to_string()))?;
        let head_dim = match hf.head_dim {
            Some(head_dim) => head_dim,
            None => hf.hidden_size.checked_div(hf.num_attention_heads).unwrap_or(0),
        };
        let shape = Self {
            hidden_size: hf.hidden_size,
            intermediate_size: hf.intermediate_size,
            num_hidden_layers: hf.num_hidden_layers,
            num_attention_heads: hf.num_attention_heads,
            num_key_value_heads: hf.num_key_value_heads.unwrap_or(hf.num_attention_heads),
            head_dim,
        };
        shape.check()?;
        Ok(shape)
    }

    /// Refuses dimensions that no model has, whoever sent them.
    pub fn check(&self) -> Result<(), AdapterError> {
        let ok = [
            (self.hidden_size, 1 << 20),
            (self.intermediate_size, 1 << 22),
            (self.num_hidden_layers, 1 << 12),
            (self.num_attention_heads, 1 << 12),
            (self.num_key_value_heads, 1 << 12),
            (self.head_dim, 1 << 14),
        ]
        .into_iter()
        .all(|(n, most)| (1..=most).contains(&n));
        let grouped = self.num_attention_heads.checked_rem(self.num_key_value_heads) == Some(0);
        if ok && grouped {
            Ok(())
        } else {
            Err(AdapterError::Config("its dimensions are out of range".to_owned()))
        }
    }
}

/// A linear module of a Llama decoder layer that can carry an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Attention queries.
    QProj,
    /// Attention keys.
    KProj,
    /// Attention values.
    VProj,
    /// Attention output.
    OProj,
    /// Feed-forward gate.
    GateProj,
    /// Feed-forward up.
    UpProj,
    /// Feed-forward down.
    DownProj,
}

impl Target {
    /// Every module, in the order of the decoder layer.
    pub const ALL: [Self; 7] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
    ];

    /// The module's name in a Hugging Face checkpoint.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// The block of the decoder layer that holds it.
    pub fn block(self) -> &'static str {
        match self {
            Self::QProj | Self::KProj | Self::VProj | Self::OProj => "self_attn",
            Self::GateProj | Self::UpProj | Self::DownProj => "mlp",
        }
    }

    /// Output and input width, `[out, in]`.
    pub fn dimensions(self, base: &BaseShape) -> [usize; 2] {
        let query = base.num_attention_heads * base.head_dim;
        let key = base.num_key_value_heads * base.head_dim;
        match self {
            Self::QProj => [query, base.hidden_size],
            Self::KProj | Self::VProj => [key, base.hidden_size],
            Self::OProj => [base.hidden_size, query],
            Self::GateProj | Self::UpProj => [base.intermediate_size, base.hidden_size],
            Self::DownProj => [base.hidden_size, base.intermediate_size],
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = AdapterError;

    fn from_str(text: &str) -> Result<Self, AdapterError> {
        Self::ALL
            .into_iter()
            .find(|target| target.name() == text)
            .ok_or_else(|| AdapterError::Target { name: text.to_owned() })
    }
}

/// One of the two factors of a LoRA module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Factor {
    /// The input factor, `[r, in]`.
    A,
    /// The output factor, `[out, r]`.
    B,
}

impl Factor {
    /// Which factor the tensor called `name` is, by PEFT's naming.
    pub fn of(name: &str) -> Option<Self> {
        if name.ends_with(".lora_A.weight") {
            Some(Self::A)
        } else if name.ends_with(".lora_B.weight") {
            Some(Self::B)
        } else {
            None
        }
    }
}

/// The factors that train in one round; the others stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factors {
    /// Only the input factors.
    A,
    /// Only the output factors.
    B,
    /// Both.
    Both,
}

impl Factors {
    /// Whether tensors of this factor train.
    pub fn trains(self, factor: Factor) -> bool {
        matches!((self, factor), (Self::Both, _) | (Self::A, Factor::A) | (Self::B, Factor::B))
    }

    /// Whether the tensor called `name` (PEFT naming) trains.
    pub fn trains_tensor(self, name: &str) -> bool {
        Factor::of(name).is_some_and(|factor| self.trains(factor))
    }
}

impl fmt::Display for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::Both => "A and B",
        })
    }
}

/// What kind of adapter a run trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// The rank `r`.
    pub rank: usize,
    /// The scale numerator; the adapter counts `alpha / rank`.
    pub alpha: f32,
    /// The modules that carry an adapter in every layer.
    pub targets: Vec<Target>,
}

impl AdapterConfig {
    /// The factor the product `B A` is multiplied by.
    pub fn scaling(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// Names and shapes of all tensors, in lexicographic order.
    pub fn layout(&self, base: &BaseShape) -> Vec<(String, [usize; 2])> {
        let mut layout = Vec::with_capacity(base.num_hidden_layers * self.targets.len() * 2);
        for layer in 0..base.num_hidden_layers {
            for &target in &self.targets {
                let [output, input] = target.dimensions(base);
                layout.push((tensor_name(layer, target, Factor::A), [self.rank, input]));
                layout.push((tensor_name(layer, target, Factor::B), [output, self.rank]));
            }
        }
        layout.sort();
        layout
    }

    /// The adapter every site starts from: `A` drawn from `seed`, `B` zero.
    pub fn initial(&self, base: &BaseShape, seed: u64) -> Result<Tensors, AdapterError> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut tensors = Tensors::new();
        for (name, shape) in self.layout(base) {
            let mut tensor = Tensor::zeros(shape.to_vec())?;
            if Factor::of(&name) == Some(Factor::A) {
                let bound = 1.0 / (shape[1] as f32).sqrt();
                for x in tensor.data_mut() {
                    *x = (unit(&mut rng) * 2.0 - 1.0) * bound;
                }
            }
            tensors.insert(name, tensor);
        }
        Ok(tensors)
    }
}

/// Uniform in `[0, 1)` with 24 bits, the most an f32 holds evenly.
fn unit(rng: &mut ChaCha20Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// PEFT's name of a factor: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
pub fn tensor_name(layer: usize, target: Target, factor: Factor) -> String {
    let block = target.block();
    let letter = match factor {
        Factor::A => 'A',
        Factor::B => 'B',
    };
    format!("base_model.model.model.layers.{layer}.{block}.{target}.lora_{letter}.weight")
}

/// The smallest `adapter_config.json` that PEFT, vLLM and llama.cpp all read.
pub fn peft_config(config: &AdapterConfig, base_name: &str) -> serde_json::Value {
    let targets: Vec<&str> = config.targets.iter().map(|target| target.name()).collect();
    serde_json::json!({
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": config.rank,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
    })
}

/// Why an adapter was refused.
#[derive(Debug, Error)]
pub enum AdapterError {
    /// A module that a Llama layer does not have.
    #[error(
        "{name} is not a linear module of a Llama layer; use q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj"
    )]
    Target {
        /// The name that was given.
        name: String,
    },
    /// Not a Llama-architecture `config.json`.
    #[error("config.json does not describe a Llama-architecture model: {0}")]
    Config(String),
    /// The tensors are not those of this adapter.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: BaseShape = BaseShape {
        hidden_size: 8,
        intermediate_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 2,
    };

    fn config() -> AdapterConfig {
        AdapterConfig { rank: 2, alpha: 4.0, targets: Target::ALL.to_vec() }
    }

    #[test]
    fn initial_adapter_is_seeded_and_changes_nothing() {
        let one = config().initial(&BASE, 7).unwrap();
        assert_eq!(one, config().initial(&BASE, 7).unwrap());
        assert_ne!(one, config().initial(&BASE, 8).unwrap());
        for (name, tensor) in one.iter() {
            match Factor::of(name).unwrap() {
                Factor::A => assert!(tensor.data().iter().any(|x| *x != 0.0)),
                Factor::B => assert!(tensor.data().iter().all(|x| *x == 0.0)),
            }
        }
    }

    #[test]
    fn layout_follows_grouped_query_attention() {
        let layout = config().layout(&BASE);
        assert_eq!(layout.len(), 2 * 7 * 2);
        let name = "base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight";
        assert!(layout.contains(&(name.to_owned(), [4, 2])));
    }

    #[test]
    fn tensors_survive_safetensors() {
        let tensors = config().initial(&BASE, 1).unwrap();
        let bytes = tensors.to_safetensors().unwrap();
        assert_eq!(bytes, tensors.to_safetensors().unwrap());
        assert_eq!(Tensors::from_safetensors(&bytes).unwrap(), tensors);
        assert!(Tensors::from_safetensors(&bytes[..bytes.len() - 1]).is_err());
    }
}
