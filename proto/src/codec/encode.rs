//! From a delta to ring elements.

use super::error::CodecError;
use super::pack::pack;
use super::ring::{BLOCK, Ring};
use crate::secagg::{PairBlocks, Stream};

/// Elements whose figures are summed side by side.
const LANES: usize = 16;

/// What a site sends, and what sending it cost in precision.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The packed elements.
    pub bytes: Vec<u8>,
    /// Relative L2 error of clipping and rounding.
    pub error: f64,
    /// Share of elements that were clipped.
    pub clipped: f64,
}

/// What encoding cost in precision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Relative L2 error of clipping and rounding.
    pub error: f64,
    /// Share of elements that were clipped.
    pub clipped: f64,
}

impl Ring {
    /// Encodes `delta` of a site with `samples` examples. `seed` is the site's own and drives the
    /// rounding; the same arguments give the same bytes.
    pub fn encode(
        &self,
        delta: &[f32],
        samples: u64,
        seed: [u8; 32],
    ) -> Result<Encoded, CodecError> {
        let mut bytes = Vec::new();
        let Loss { error, clipped } = self.encode_into(delta, samples, seed, &mut bytes)?;
        Ok(Encoded { bytes, error, clipped })
    }

    /// The same into memory that is there already, whose contents are lost.
    pub fn encode_into(
        &self,
        delta: &[f32],
        samples: u64,
        seed: [u8; 32],
        bytes: &mut Vec<u8>,
    ) -> Result<Loss, CodecError> {
        self.check_parameters()?;
        if samples == 0 {
            return Err(CodecError::NoSamples);
        }
        let top = self.top();
        // The weight that is sent, not the one that was asked for, so that the mean is unbiased.
        let level = self.weight_level(samples);
        let quantiser = Quantiser {
            clip: self.clip,
            scale: top as f32 / self.clip * (level as f32 / top as f32),
            top,
        };
        let mut rounding = Stream::new(&seed);
        let mut random = PairBlocks::new();
        let mut values = vec![0u32; BLOCK];
        bytes.resize(self.packed_len(delta.len()), 0);
        let mut figures = Figures::default();
        let mut rest = bytes.as_mut_slice();
        let mut blocks = delta.chunks(BLOCK).peekable();
        let mut weight_left = true;
        while weight_left {
            let block = blocks.next().unwrap_or(&[]);
            let coins = rounding.pairs(&mut random);
            figures.add(quantiser.block(block, coins, &mut values));
            let mut count = block.len();
            // The weight follows the last element; a full last block leaves it a block of its own.
            if blocks.peek().is_none() && count < BLOCK {
                if let Some(slot) = values.get_mut(count) {
                    *slot = level as u32;
                }
                count += 1;
                weight_left = false;
            }
            let len = (count * self.ring_bits as usize).div_ceil(8).min(rest.len());
            let (out, left) = rest.split_at_mut(len);
            rest = left;
            pack(values.get(..count).unwrap_or(&values), self.ring_bits, out);
        }
        if figures.not_a_number {
            return Err(CodecError::NotFinite);
        }
        let clipped = figures.clipped as f64 / delta.len().max(1) as f64;
        let error = if figures.norm > 0.0 { (figures.error / figures.norm).sqrt() } else { 0.0 };
        Ok(Loss { error, clipped })
    }
}

/// Sums over the elements seen so far.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    error: f64,
    norm: f64,
    clipped: u64,
    not_a_number: bool,
}

impl Figures {
    fn add(&mut self, block: Self) {
        self.error += block.error;
        self.norm += block.norm;
        self.clipped += block.clipped;
        self.not_a_number |= block.not_a_number;
    }
}

/// The numbers that quantisation goes by.
#[derive(Clone, Copy)]
struct Quantiser {
    clip: f32,
    scale: f32,
    top: i32,
}

/// Adding this to an f32 below 2^22 leaves the nearest integer in its low bits.
const ROUND: f32 = 12_582_912.0;

impl Quantiser {
    /// Quantises up to a block of elements, with two random bytes for each.
    fn block(&self, delta: &[f32], coins: &[[u8; 2]], values: &mut [u32]) -> Figures {
        let (whole, rest) = delta.as_chunks::<LANES>();
        let mut last = [0.0; LANES];
        for (slot, x) in last.iter_mut().zip(rest) {
            *slot = *x;
        }
        let mut last_levels = [0; LANES];
        let sums = pulp::Arch::new().dispatch(|| {
            let mut sums = Sums::default();
            self.round(delta, coins, values);
            for (x, levels) in whole.iter().zip(values.as_chunks::<LANES>().0) {
                self.measure(x, levels, &mut sums);
            }
            for (slot, level) in
                last_levels.iter_mut().zip(values.iter().skip(delta.len() - rest.len()))
            {
                *slot = *level;
            }
            if !rest.is_empty() {
                // The lanes beyond the last element hold 0 on either side.
                last_levels.iter_mut().skip(rest.len()).for_each(|level| *level = 0);
                self.measure(&last, &last_levels, &mut sums);
            }
            sums
        });
        Figures {
            error: sums.error.iter().map(|x| f64::from(*x)).sum(),
            norm: sums.norm.iter().map(|x| f64::from(*x)).sum(),
            clipped: sums.clipped.iter().map(|x| u64::from(*x)).sum(),
            not_a_number: sums.not_a_number.iter().any(|x| *x != 0),
        }
    }

    #[inline(always)]
    fn round(&self, delta: &[f32], coins: &[[u8; 2]], values: &mut [u32]) {
        let Self { clip, scale, top } = *self;
        for ((x, coin), value) in delta.iter().zip(coins).zip(values) {
            let kept = x.max(-clip).min(clip);
            // Uniform in (-1/2, 1/2): rounding the sum to the nearest rounds the element up with the
            // probability of its fraction.
            let coin = (f32::from(i16::from_le_bytes(*coin)) + 0.5) * (1.0 / 65_536.0);
            let nearest = (kept * scale + coin + ROUND).to_bits() as i32;
            *value = (nearest - ROUND.to_bits() as i32).max(-top).min(top) as u32;
        }
    }

    /// Adds up what rounding did to some elements; lane by lane, which is the form that vectorises.
    #[inline(always)]
    fn measure(&self, x: &[f32; LANES], levels: &[u32; LANES], sums: &mut Sums) {
        let unscale = 1.0 / self.scale;
        for lane in 0..LANES {
            let x = x[lane];
            sums.not_a_number[lane] |= u32::from(x.is_nan());
            sums.clipped[lane] += u32::from(x.abs() > self.clip);
            // An infinite element has no relative error; it counts as clipped.
            let real = if x.abs() <= f32::MAX { x } else { self.clip.copysign(x) };
            let difference = levels[lane] as i32 as f32 * unscale - real;
            sums.error[lane] += difference * difference;
            sums.norm[lane] += real * real;
        }
    }
}

/// One block's sums, lane by lane.
#[derive(Default)]
struct Sums {
    error: [f32; LANES],
    norm: [f32; LANES],
    clipped: [u32; LANES],
    not_a_number: [u32; LANES],
}
