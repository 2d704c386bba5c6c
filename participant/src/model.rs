//! Llama-architecture models from Hugging Face checkpoints, on burn.

mod adapter;
mod checkpoint;
mod config;
mod llama;
mod lora;
mod rope;
mod weights;

use std::path::Path;

use burn::tensor::Device;
use chancery_proto::BaseShape;
use tokenizers::Tokenizer;

pub use adapter::{load_peft, save_peft};
pub use config::{LlamaConfig, RopeScaling};
pub use llama::{Batch, Llama};
pub use lora::Lora;
pub use weights::Weights;

use crate::trainer::TrainError;

/// A frozen base model with its tokenizer, as a checkpoint folder holds them.
pub struct BaseModel {
    llama: Llama,
    tokenizer: Tokenizer,
}

impl std::fmt::Debug for BaseModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaseModel").field("config", self.llama.config()).finish_non_exhaustive()
    }
}

impl BaseModel {
    /// Opens a Hugging Face folder: `config.json`, `model.safetensors` (or its sharded index) and
    /// `tokenizer.json`. The weights are loaded as f32 onto the default device.
    pub fn open(dir: &Path) -> Result<Self, TrainError> {
        let config = LlamaConfig::read(dir)?;
        let path = dir.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&path)
            .map_err(|e| TrainError::Checkpoint { path, why: e.to_string() })?;
        let weights = checkpoint::load(dir, &config, &device())?;
        Ok(Self { llama: Llama::new(config, weights), tokenizer })
    }

    /// The dimensions that an adapter's shapes follow from.
    pub fn shape(&self) -> BaseShape {
        self.llama.config().shape()
    }

    /// The model.
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// The device everything runs on: one per build, chosen by feature, and never another in silence.
pub(crate) fn device() -> Device {
    #[cfg(feature = "cuda")]
    let device = Device::cuda(0);
    #[cfg(all(feature = "wgpu", not(feature = "cuda")))]
    let device = Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    let device = Device::flex();
    device.autodiff()
}

/// The backend's name, for training statements.
pub(crate) const BACKEND: &str = if cfg!(feature = "cuda") {
    "burn-cuda"
} else if cfg!(feature = "wgpu") {
    "burn-wgpu"
} else {
    "burn-flex"
};
