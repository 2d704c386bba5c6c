//! How far FedIT's average is from what should have been averaged, measured without seeing any site's
//! factors.
//!
//! The mean of products is not the product of means: with `dW* = sum p_i s B_i A_i` FedIT makes
//! `s Bbar Abar` instead. Every site also hands in `y_i = s B_i A_i x_k` for a few public random vectors
//! `x_k`, as more elements of its update, and the sum yields `y_k = dW* x_k`. With entries of -1 and 1,
//! `E |M x|^2 = |M|_F^2` for any matrix `M` (Hutchinson, 1989), so the squared lengths of
//! `y_k - s Bbar Abar x_k` and of `y_k` estimate the two squared norms whose quotient the error is. A
//! round pays `out` numbers a module and probe for it, not `in * out`.
//!
//! Quantisation adds its own noise to `y_k`, so that errors near that noise are overstated.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::adapter::{AdapterConfig, BaseShape};
use crate::tensor::Tensors;

/// What a plan says about the probes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sketch {
    /// Random vectors a module.
    pub probes: u32,
    /// Answers to probes are clipped to `[-range, range]`.
    pub range: f32,
}

/// An estimate of `|dW* - s Bbar Abar| / |dW*|` over all modules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// The estimate.
    pub relative: f64,
    /// Where its 95 % confidence interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Sketch {
    /// Whether a site can be asked this: a few probes, and a range that is one.
    pub(crate) fn is_sound(&self) -> bool {
        (2..=64).contains(&self.probes) && self.range > 0.0 && self.range.is_finite()
    }

    /// Numbers that an update is longer by.
    pub fn elements(&self, adapter: &AdapterConfig, base: &BaseShape) -> usize {
        let outputs: usize = modules(adapter, base).iter().map(|module| module.output).sum();
        outputs * self.probes as usize
    }

    /// The answers of an adapter to all probes: module by module, probe by probe. An adapter that lacks
    /// a module's tensors answers 0 there.
    pub fn answers(
        &self,
        adapter: &AdapterConfig,
        base: &BaseShape,
        seed: &[u8; 32],
        tensors: &Tensors,
    ) -> Vec<f32> {
        let mut answers = Vec::with_capacity(self.elements(adapter, base));
        for module in modules(adapter, base) {
            let a = tensors.get(&module.a).map_or(&[][..], |tensor| tensor.data());
            let b = tensors.get(&module.b).map_or(&[][..], |tensor| tensor.data());
            for k in 0..self.probes {
                let x = probe(seed, &module.a, k, module.input);
                let inner: Vec<f64> =
                    a.chunks_exact(module.input).map(|row| dot(row, &x)).collect();
                let scale = f64::from(adapter.scaling());
                let rows = b.chunks_exact(adapter.rank).map(|row| {
                    let sum: f64 = row.iter().zip(&inner).map(|(b, z)| f64::from(*b) * z).sum();
                    (scale * sum) as f32
                });
                let end = answers.len() + module.output;
                answers.extend(rows);
                answers.resize(end, 0.0);
            }
        }
        answers
    }

    /// The estimate from the mean of the sites' answers and the answers of the mean adapter.
    ///
    /// The interval is a jackknife of the logarithm of the quotient with Student's t: a quotient of few
    /// squares is skewed, its logarithm much less so.
    pub fn deviation(
        &self,
        adapter: &AdapterConfig,
        base: &BaseShape,
        ideal: &[f32],
        mean: &[f32],
    ) -> Option<Deviation> {
        let probes = self.probes as usize;
        let mut tally = vec![(0.0f64, 0.0f64); probes];
        let mut start = 0;
        for module in modules(adapter, base) {
            for sums in &mut tally {
                let range = start..start + module.output;
                start = range.end;
                for (y, m) in ideal.get(range.clone())?.iter().zip(mean.get(range)?) {
                    sums.0 += (f64::from(*y) - f64::from(*m)).powi(2);
                    sums.1 += f64::from(*y).powi(2);
                }
            }
        }
        let (missed, total) = tally.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
        if probes < 2 || total <= 0.0 {
            return None;
        }
        let relative = (missed / total).sqrt();
        let logs: Vec<f64> = tally.iter().map(|p| ((missed - p.0) / (total - p.1)).ln()).collect();
        let count = logs.len() as f64;
        let centre = logs.iter().sum::<f64>() / count;
        let squares: f64 = logs.iter().map(|log| (log - centre).powi(2)).sum();
        // Half, because the estimate is the square root of the quotient.
        let reach = 0.5 * student(probes - 1) * (squares * (count - 1.0) / count).sqrt();
        let factor = if reach.is_finite() { reach.exp() } else { f64::INFINITY };
        Some(Deviation { relative, low: relative / factor, high: relative * factor })
    }
}

/// One module of the adapter.
struct Module {
    a: String,
    b: String,
    input: usize,
    output: usize,
}

/// The modules in the order of the layout, which has `A` right before `B`.
fn modules(adapter: &AdapterConfig, base: &BaseShape) -> Vec<Module> {
    let layout = adapter.layout(base);
    let pairs = layout.as_chunks::<2>().0.iter().map(|[(a, [_, input]), (b, [output, _])]| {
        Module { a: a.clone(), b: b.clone(), input: *input, output: *output }
    });
    pairs.collect()
}

/// Probe `k` of the module whose `A` is called `module`: entries of -1 or 1.
fn probe(seed: &[u8; 32], module: &str, k: u32, len: usize) -> Vec<f32> {
    let text = [b"chancery-sketch-v1\n".as_slice(), seed, module.as_bytes()].concat();
    let mut key = [0; 32];
    key.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &text).as_ref());
    let mut rng = ChaCha20Rng::from_seed(key);
    rng.set_stream(u64::from(k));
    let mut entries = Vec::with_capacity(len);
    while entries.len() < len {
        let word = rng.next_u32();
        let bits = (0..32).map(|bit| if word >> bit & 1 == 1 { 1.0 } else { -1.0 });
        entries.extend(bits.take(len - entries.len()));
    }
    entries
}

fn dot(row: &[f32], x: &[f32]) -> f64 {
    row.iter().zip(x).map(|(a, x)| f64::from(*a) * f64::from(*x)).sum()
}

/// The 97.5 % point of Student's t: a table where the tail is heavy, then the expansion in `1 / n` about
/// the normal distribution (Abramowitz and Stegun, 26.7.5), right to three decimals.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 8] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306];
    if let Some(t) = freedom.checked_sub(1).and_then(|index| TABLE.get(index)) {
        return *t;
    }
    let (z, n) = (1.959_964_f64, freedom as f64);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    z + first / n + second / n.powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Factor, Target};
    use crate::tensor::Tensor;

    const BASE: BaseShape = BaseShape {
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
    };

    fn config() -> AdapterConfig {
        AdapterConfig { rank: 3, alpha: 6.0, targets: vec![Target::QProj, Target::DownProj] }
    }

    /// An adapter of seeded numbers; sites that share `shared` have the same `A`.
    fn adapter(site: u64, shared: bool) -> Tensors {
        let mut tensors = Tensors::new();
        for (name, shape) in config().layout(&BASE) {
            let seed = if shared && Factor::of(&name) == Some(Factor::A) { 0 } else { site };
            let mut rng = ChaCha20Rng::seed_from_u64(seed * 1000 + name.len() as u64);
            let mut tensor = Tensor::zeros(shape.to_vec()).unwrap();
            for x in tensor.data_mut() {
                *x = (rng.next_u32() >> 8) as f32 / (1 << 24) as f32 - 0.5;
            }
            tensors.insert(name, tensor);
        }
        tensors
    }

    fn mean(adapters: &[Tensors]) -> Tensors {
        let mut mean = Tensors::new();
        for (name, tensor) in adapters[0].iter() {
            let mut sum = Tensor::zeros(tensor.shape().to_vec()).unwrap();
            for adapter in adapters {
                let other = adapter.get(name).unwrap().data();
                for (x, y) in sum.data_mut().iter_mut().zip(other) {
                    *x += y / adapters.len() as f32;
                }
            }
            mean.insert(name, sum);
        }
        mean
    }

    /// `s B A` of a module as a dense matrix in f64.
    fn dense(tensors: &Tensors, module: &Module) -> Vec<f64> {
        let (a, b) = (tensors.get(&module.a).unwrap(), tensors.get(&module.b).unwrap());
        let rank = config().rank;
        let mut w = vec![0.0; module.output * module.input];
        for o in 0..module.output {
            for i in 0..module.input {
                for r in 0..rank {
                    w[o * module.input + i] += 2.0
                        * f64::from(b.data()[o * rank + r])
                        * f64::from(a.data()[r * module.input + i]);
                }
            }
        }
        w
    }

    fn oracle(adapters: &[Tensors]) -> f64 {
        let average = mean(adapters);
        let (mut missed, mut total) = (0.0, 0.0);
        for module in modules(&config(), &BASE) {
            let mut ideal = vec![0.0; module.output * module.input];
            for adapter in adapters {
                for (sum, w) in ideal.iter_mut().zip(dense(adapter, &module)) {
                    *sum += w / adapters.len() as f64;
                }
            }
            for (ideal, made) in ideal.iter().zip(dense(&average, &module)) {
                missed += (ideal - made).powi(2);
                total += ideal * ideal;
            }
        }
        (missed / total).sqrt()
    }

    fn estimate(adapters: &[Tensors], probes: u32, seed: u8) -> Deviation {
        let sketch = Sketch { probes, range: 1.0 };
        let seed = [seed; 32];
        let answers: Vec<Vec<f32>> =
            adapters.iter().map(|a| sketch.answers(&config(), &BASE, &seed, a)).collect();
        let ideal: Vec<f32> = (0..answers[0].len())
            .map(|i| answers.iter().map(|y| y[i]).sum::<f32>() / adapters.len() as f32)
            .collect();
        let made = sketch.answers(&config(), &BASE, &seed, &mean(adapters));
        assert_eq!(made.len(), sketch.elements(&config(), &BASE));
        sketch.deviation(&config(), &BASE, &ideal, &made).unwrap()
    }

    #[test]
    fn the_estimate_is_that_of_the_dense_matrices() {
        let adapters: Vec<Tensors> = (1..5).map(|site| adapter(site, false)).collect();
        let (truth, found) = (oracle(&adapters), estimate(&adapters, 64, 7));
        assert!(truth > 0.3, "{truth}");
        assert!((found.relative - truth).abs() < 0.1 * truth, "{found:?} {truth}");
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let adapters: Vec<Tensors> = (1..4).map(|site| adapter(site, false)).collect();
        let truth = oracle(&adapters);
        let covered = (0..200)
            .filter(|seed| {
                let found = estimate(&adapters, 8, *seed);
                (found.low..=found.high).contains(&truth)
            })
            .count();
        assert!((174..=199).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn sites_that_share_a_factor_miss_nothing() {
        let adapters: Vec<Tensors> = (1..4).map(|site| adapter(site, true)).collect();
        assert!(oracle(&adapters) < 1e-6);
        assert!(estimate(&adapters, 4, 1).relative < 1e-5);
    }
}
