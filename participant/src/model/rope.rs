//! Rotary position embedding in Hugging Face's rotate-half form (Su et al., "RoFormer", 2021), with
//! the frequency stretching of Llama 3.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use super::config::LlamaConfig;

/// Cosines and sines for a number of positions, `[1, 1, positions, head_dim]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    /// Tables for the first `positions` positions.
    pub(crate) fn new(config: &LlamaConfig, positions: usize, device: &Device) -> Self {
        let head_dim = config.shape().head_dim;
        let frequencies = frequencies(config, head_dim);
        let angles: Vec<f32> = (0..positions)
            .flat_map(|position| {
                frequencies.iter().chain(&frequencies).map(move |f| position as f32 * *f)
            })
            .collect();
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle)).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, positions, head_dim]), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// Turns `x` of shape `[batch, heads, positions, head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.clone().narrow(3, half, half);
        let turned = Tensor::cat(vec![second.neg(), first], 3);
        x * self.cos.clone() + turned * self.sin.clone()
    }
}

/// `theta^(-2i/d)`, stretched as `rope_scaling` says.
fn frequencies(config: &LlamaConfig, head_dim: usize) -> Vec<f32> {
    let theta = config.theta();
    let plain = (0..head_dim / 2).map(|i| theta.powf(-(2.0 * i as f64) / head_dim as f64));
    let Some(scaling) = config.scaling().filter(|scaling| scaling.rope_type == "llama3") else {
        return plain.map(|f| f as f32).collect();
    };
    let original = scaling.original_max_position_embeddings as f64;
    let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
    plain
        .map(|frequency| {
            let wavelength = TAU / frequency;
            let stretched = if wavelength > original / low {
                frequency / scaling.factor
            } else if wavelength < original / high {
                frequency
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / scaling.factor + smooth * frequency
            };
            stretched as f32
        })
        .collect()
}
