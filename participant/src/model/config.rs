//! `config.json` of a Llama-architecture checkpoint.

use std::path::Path;

use chancery_proto::BaseShape;
use serde::{Deserialize, Serialize};

use crate::trainer::TrainError;

/// What a Llama model is made of. Field names are Hugging Face's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// "llama"; other architectures are refused.
    pub model_type: String,
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Width of one head.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// RMSNorm's epsilon.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// Stretching of the rotary frequencies.
    #[serde(default)]
    pub rope_scaling: Option<RopeScaling>,
    /// transformers 5 writes theta and scaling here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeScaling>,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Longest sequence.
    #[serde(default = "positions")]
    pub max_position_embeddings: usize,
    /// Biases on attention are not supported.
    #[serde(default)]
    pub attention_bias: bool,
    /// Biases on the feed-forward layer are not supported.
    #[serde(default)]
    pub mlp_bias: bool,
    /// "silu"; others are refused.
    #[serde(default = "silu")]
    pub hidden_act: String,
    /// The first token of a text.
    #[serde(default)]
    pub bos_token_id: Option<u32>,
    /// The token, or tokens, that end a text.
    #[serde(default)]
    pub eos_token_id: Option<TokenIds>,
}

/// One token id or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenIds {
    /// One.
    One(u32),
    /// Several; the first is written, all end a text.
    Many(Vec<u32>),
}

/// `rope_scaling` of `config.json`; `default` and `llama3` are supported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RopeScaling {
    /// The kind.
    #[serde(alias = "type")]
    pub rope_type: String,
    /// How much longer the longest wavelengths become.
    #[serde(default = "unit", skip_serializing_if = "is_unit")]
    pub factor: f64,
    /// Where the unstretched part ends.
    #[serde(default = "unit", skip_serializing_if = "is_unit")]
    pub low_freq_factor: f64,
    /// Where the fully stretched part begins.
    #[serde(default = "unit", skip_serializing_if = "is_unit")]
    pub high_freq_factor: f64,
    /// The context of pre-training.
    #[serde(default = "positions", skip_serializing_if = "is_positions")]
    pub original_max_position_embeddings: usize,
    /// Base of the frequencies, where transformers 5 puts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
}

fn positions() -> usize {
    8192
}
fn is_positions(positions: &usize) -> bool {
    *positions == 8192
}
fn unit() -> f64 {
    1.0
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_unit(x: &f64) -> bool {
    (x - 1.0).abs() < f64::EPSILON
}
fn silu() -> String {
    "silu".to_owned()
}

impl LlamaConfig {
    /// Reads and checks `config.json` in `dir`.
    pub fn read(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join("config.json");
        let bad = |why: String| TrainError::Checkpoint { path: path.clone(), why };
        let text = std::fs::read_to_string(&path).map_err(|e| bad(e.to_string()))?;
        let kind: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        let kind = kind.get("model_type").and_then(|kind| kind.as_str()).unwrap_or_default();
        if kind != "llama" {
            return Err(bad(format!(
                "its model_type is {kind:?}; only \"llama\" checkpoints are supported"
            )));
        }
        let config: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        config.check().map_err(bad)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.attention_bias || self.mlp_bias {
            return Err("biases on linear layers are not supported".to_owned());
        }
        if self.hidden_act != "silu" {
            return Err(format!("hidden_act {:?} is not supported", self.hidden_act));
        }
        if let Some(scaling) = self.scaling()
            && !matches!(scaling.rope_type.as_str(), "default" | "llama3")
        {
            return Err(format!("rope_scaling {:?} is not supported", scaling.rope_type));
        }
        if !(1..=1 << 24).contains(&self.vocab_size) || !self.shape().head_dim.is_multiple_of(2) {
            return Err("its dimensions are out of range".to_owned());
        }
        self.shape().check().map_err(|e| e.to_string())
    }

    /// The dimensions that an adapter's shapes follow from.
    pub fn shape(&self) -> BaseShape {
        BaseShape {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim.unwrap_or_else(|| {
                self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0)
            }),
        }
    }

    /// The stretching of the rotary frequencies, wherever it is written.
    pub(crate) fn scaling(&self) -> Option<&RopeScaling> {
        self.rope_scaling.as_ref().or(self.rope_parameters.as_ref())
    }

    /// The base of the rotary frequencies, wherever it is written.
    pub(crate) fn theta(&self) -> f64 {
        let nested = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        self.rope_theta.or(nested).unwrap_or(10_000.0)
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        match self.eos_token_id.as_ref()? {
            TokenIds::One(id) => Some(*id),
            TokenIds::Many(ids) => ids.first().copied(),
        }
    }
}
