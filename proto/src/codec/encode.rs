//! From a delta to ring elements.

use super::error::CodecError;
use super::lane::Lane;
use super::pack::pack;
use super::ring::{BLOCK, Ring};
use crate::kernel::kernel;
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
        match self.ring_bits {
            ..=16 => self.encode_lanes::<u16>(delta, samples, seed, bytes),
            _ => self.encode_lanes::<u32>(delta, samples, seed, bytes),
        }
    }

    fn encode_lanes<L: Lane>(
        &self,
        delta: &[f32],
        samples: u64,
        seed: [u8; 32],
        bytes: &mut Vec<u8>,
    ) -> Result<Loss, CodecError> {
        let top = self.top;
        // The weight that is sent, not the one that was asked for, so that the mean is unbiased.
        let level = self.weight_level(samples);
        let quantiser = Quantiser {
            clip: self.clip,
            scale: top as f32 / self.clip * (level as f32 / top as f32),
            top,
        };
        let mut rounding = Stream::new(&seed);
        let mut random = PairBlocks::new();
        let mut values = [L::default(); BLOCK];
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
                    *slot = L::narrow(level as u32);
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
    fn block<L: Lane>(&self, delta: &[f32], coins: &[[u8; 2]], values: &mut [L]) -> Figures {
        let sums = quantise(self, delta, coins, values);
        Figures {
            error: sums.error.iter().map(|x| f64::from(*x)).sum(),
            norm: sums.norm.iter().map(|x| f64::from(*x)).sum(),
            clipped: sums.clipped.iter().map(|x| u64::from(*x)).sum(),
            not_a_number: sums.not_a_number.iter().any(|x| *x != 0),
        }
    }

    /// Rounds some elements and adds up what that did to them; lane by lane, which is the form that
    /// vectorises.
    #[inline(always)]
    fn lanes<L: Lane>(
        &self,
        x: &[f32; LANES],
        coins: &[[u8; 2]; LANES],
        values: &mut [L; LANES],
        sums: &mut Sums,
    ) {
        let Self { clip, scale, top } = *self;
        let unscale = 1.0 / scale;
        for lane in 0..LANES {
            let x = x[lane];
            let kept = x.max(-clip).min(clip);
            // Uniform in (-1/2, 1/2): rounding the sum to the nearest rounds the element up with the
            // probability of its fraction.
            let coin = (f32::from(i16::from_le_bytes(coins[lane])) + 0.5) * (1.0 / 65_536.0);
            let nearest = (kept * scale + coin + ROUND).to_bits() as i32;
            let level = (nearest - ROUND.to_bits() as i32).max(-top).min(top);
            values[lane] = L::narrow(level as u32);
            sums.not_a_number[lane] |= u32::from(x.is_nan());
            sums.clipped[lane] += u32::from(x.abs() > clip);
            // An infinite element has no relative error; it counts as clipped.
            let real = if x.abs() <= f32::MAX { x } else { clip.copysign(x) };
            let difference = level as f32 * unscale - real;
            sums.error[lane] += difference * difference;
            sums.norm[lane] += real * real;
        }
    }
}

kernel! {
    fn quantise<'a, L: Lane>(
        quantiser: &'a Quantiser,
        delta: &'a [f32],
        coins: &'a [[u8; 2]],
        values: &'a mut [L],
    ) -> Sums {
        let mut sums = Sums::default();
        let (whole, rest) = delta.as_chunks::<LANES>();
        let slots = values.as_chunks_mut::<LANES>().0.iter_mut();
        for ((x, coins), slots) in whole.iter().zip(coins.as_chunks::<LANES>().0).zip(slots) {
            quantiser.lanes(x, coins, slots, &mut sums);
        }
        if !rest.is_empty() {
            // The lanes beyond the last element hold 0, and a coin that leaves it 0.
            let (mut x, mut last, mut flips) = ([0.0; LANES], [L::default(); LANES], [[0; 2]; LANES]);
            let start = delta.len() - rest.len();
            x.iter_mut().zip(rest).for_each(|(slot, x)| *slot = *x);
            flips.iter_mut().zip(coins.iter().skip(start)).for_each(|(slot, coin)| *slot = *coin);
            flips.iter_mut().skip(rest.len()).for_each(|coin| *coin = [0; 2]);
            quantiser.lanes(&x, &flips, &mut last, &mut sums);
            let slots = values.iter_mut().skip(start);
            slots.zip(last).take(rest.len()).for_each(|(slot, level)| *slot = level);
        }
        sums
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
