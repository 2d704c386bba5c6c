//! The update codec: a weighted delta as integers in a ring, so that a sum does not depend on order.
//!
//! A site multiplies its clipped delta by its weight in `(0, 1]`, rounds every element stochastically
//! to `quantisation_bits` signed bits, appends the weight itself as one more element, and packs all
//! of them into `ring_bits` each (little-endian bit order). `ring_bits` leaves room for the sum of
//! the whole cohort, so a sum modulo `2^ring_bits` is the exact integer sum. Clipping makes NaN and
//! infinity unrepresentable and bounds what one site can do.
//!
//! Nothing but the plan says how the bytes are to be read; there is no header.

use std::io::{self, Read};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Elements that are packed or unpacked at once: the codec's working memory.
const BLOCK: usize = 16 * 1024;

/// How one round's updates are written as integers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Ring {
    /// Bits of one quantised element, sign included.
    pub quantisation_bits: u32,
    /// Bits of one packed element.
    pub ring_bits: u32,
    /// Elements are clipped to `[-clip, clip]`.
    pub clip: f32,
    /// The sample count that weighs 1; larger ones weigh 1 too.
    pub weight_cap: u32,
}

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

/// The weighted mean of all updates that were added.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// Elements in the order of the layout.
    pub values: Vec<f32>,
    /// Sum of the weights, each in `(0, 1]`.
    pub weight: f64,
    /// Updates that were added.
    pub updates: usize,
}

impl Ring {
    /// The ring for sums of up to `sites` updates.
    pub fn for_cohort(quantisation_bits: u32, clip: f32, weight_cap: u32, sites: u32) -> Self {
        let room = sites.max(1).next_power_of_two().trailing_zeros();
        Self { quantisation_bits, ring_bits: quantisation_bits + room, clip, weight_cap }
    }

    /// Refuses a ring that cannot be used, whoever proposed it.
    pub fn check_parameters(&self) -> Result<(), CodecError> {
        let ok = (4..=24).contains(&self.quantisation_bits)
            && (self.quantisation_bits..=32).contains(&self.ring_bits)
            && self.clip > 0.0
            && self.clip.is_finite()
            && self.weight_cap > 0;
        if ok { Ok(()) } else { Err(CodecError::Ring) }
    }

    /// Bytes of an update of `elements` numbers; the weight is one more.
    pub fn packed_len(&self, elements: usize) -> usize {
        (elements + 1).saturating_mul(self.ring_bits as usize).div_ceil(8)
    }

    /// The largest integer an element can have before the sum.
    fn top(&self) -> i32 {
        (1 << (self.quantisation_bits - 1)) - 1
    }

    fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.ring_bits)
    }

    /// The weight of a site with `samples` examples.
    pub fn weight(&self, samples: u64) -> f64 {
        (samples as f64 / f64::from(self.weight_cap)).min(1.0)
    }

    fn weight_level(&self, samples: u64) -> i32 {
        ((self.weight(samples) * f64::from(self.top())).round() as i32).max(1)
    }

    /// Encodes `delta` of a site with `samples` examples. `seed` is the site's own and drives the
    /// rounding; the same arguments give the same bytes.
    pub fn encode(
        &self,
        delta: &[f32],
        samples: u64,
        seed: [u8; 32],
    ) -> Result<Encoded, CodecError> {
        self.check_parameters()?;
        if samples == 0 {
            return Err(CodecError::NoSamples);
        }
        let top = self.top();
        // The weight that is sent, not the one that was asked for, so that the mean is unbiased.
        let level = self.weight_level(samples);
        let weight = level as f32 / top as f32;
        let scale = top as f32 / self.clip * weight;
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut bytes = Vec::with_capacity(self.packed_len(delta.len()) + 8);
        let mut packer = Packer::new(self.ring_bits);
        let (mut error, mut norm, mut clipped) = (0.0f64, 0.0f64, 0usize);
        for &x in delta {
            let x = if x.is_nan() { return Err(CodecError::NotFinite) } else { x };
            let kept = x.clamp(-self.clip, self.clip);
            clipped += usize::from(kept != x);
            let exact = kept * scale;
            let floor = exact.floor();
            let up = (rng.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32) < exact - floor;
            let level = (floor as i32 + i32::from(up)).clamp(-top, top);
            let difference = f64::from(level as f32 / scale) - f64::from(x);
            error += difference * difference;
            norm += f64::from(x) * f64::from(x);
            packer.push(level as u32 & self.mask(), &mut bytes);
        }
        packer.push(level as u32, &mut bytes);
        packer.finish(&mut bytes);
        Ok(Encoded {
            bytes,
            error: if norm > 0.0 { (error / norm).sqrt() } else { 0.0 },
            clipped: if delta.is_empty() { 0.0 } else { clipped as f64 / delta.len() as f64 },
        })
    }

    /// Checks one update in the clear: right length, every element within its range, a weight above 0.
    pub fn check(&self, reader: impl Read, elements: usize) -> Result<(), CodecError> {
        let top = self.top();
        let mut last = 0;
        self.read(reader, elements, |index, values| {
            for (offset, &value) in values.iter().enumerate() {
                last = self.signed(value);
                if last < -top || last > top {
                    return Err(CodecError::OutOfRange { element: index + offset });
                }
            }
            Ok(())
        })?;
        if last < 1 { Err(CodecError::OutOfRange { element: elements }) } else { Ok(()) }
    }

    /// The signed integer that a ring element stands for.
    fn signed(&self, value: u32) -> i32 {
        let shift = 32 - self.ring_bits;
        (value << shift) as i32 >> shift
    }

    /// Unpacks `elements + 1` values block by block.
    fn read(
        &self,
        mut reader: impl Read,
        elements: usize,
        mut each: impl FnMut(usize, &[u32]) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        self.check_parameters()?;
        let total = elements + 1;
        let mut bytes = vec![0u8; BLOCK * self.ring_bits as usize / 8];
        let mut values = vec![0u32; BLOCK];
        let mut done = 0;
        while done < total {
            let count = BLOCK.min(total - done);
            // A block holds a multiple of eight elements, so only the last one ends inside a byte.
            let block = &mut bytes[..(count * self.ring_bits as usize).div_ceil(8)];
            reader.read_exact(block).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => CodecError::Length,
                _ => CodecError::Read(e),
            })?;
            unpack(block, self.ring_bits, &mut values[..count]);
            each(done, &values[..count])?;
            done += count;
        }
        match reader.read(&mut [0u8; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(CodecError::Length),
            Err(e) => Err(CodecError::Read(e)),
        }
    }
}

/// The running sum of updates: one integer per element, whatever the number of sites.
#[derive(Clone, Debug)]
pub struct Accumulator {
    ring: Ring,
    sum: Vec<u32>,
    updates: usize,
}

impl Accumulator {
    /// An empty sum over `elements` numbers and the weight.
    pub fn new(ring: &Ring, elements: usize) -> Result<Self, CodecError> {
        ring.check_parameters()?;
        Ok(Self { ring: *ring, sum: vec![0; elements + 1], updates: 0 })
    }

    /// Adds one packed update. After an error the sum is spoilt and must not be used.
    pub fn add(&mut self, reader: impl Read) -> Result<(), CodecError> {
        let sum = &mut self.sum;
        self.ring.read(reader, sum.len() - 1, |index, values| {
            let slots = sum.get_mut(index..index + values.len()).ok_or(CodecError::Length)?;
            for (slot, value) in slots.iter_mut().zip(values) {
                *slot = slot.wrapping_add(*value);
            }
            Ok(())
        })?;
        self.updates += 1;
        Ok(())
    }

    /// The weighted mean, as f32.
    pub fn finish(self) -> Result<Mean, CodecError> {
        let mask = self.ring.mask();
        let (weight, elements) = self.sum.split_last().ok_or(CodecError::Length)?;
        let weight = self.ring.signed(weight & mask);
        if weight < 1 || self.updates == 0 {
            return Err(CodecError::NoSamples);
        }
        let scale = f64::from(self.ring.clip) / f64::from(weight);
        let values = elements
            .iter()
            .map(|value| (f64::from(self.ring.signed(value & mask)) * scale) as f32)
            .collect();
        let weight = f64::from(weight) / f64::from(self.ring.top());
        Ok(Mean { values, weight, updates: self.updates })
    }
}

/// Appends values of a fixed number of bits, least significant bit first.
struct Packer {
    bits: u32,
    held: u64,
    filled: u32,
}

impl Packer {
    fn new(bits: u32) -> Self {
        Self { bits, held: 0, filled: 0 }
    }

    #[inline]
    fn push(&mut self, value: u32, out: &mut Vec<u8>) {
        self.held |= u64::from(value) << self.filled;
        self.filled += self.bits;
        if self.filled >= 32 {
            out.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.filled -= 32;
        }
    }

    fn finish(self, out: &mut Vec<u8>) {
        let bytes = self.filled.div_ceil(8) as usize;
        out.extend_from_slice(&self.held.to_le_bytes()[..bytes]);
    }
}

/// The inverse of `Packer` for one block.
fn unpack(bytes: &[u8], bits: u32, values: &mut [u32]) {
    if bits == 16 {
        for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = u32::from(u16::from_le_bytes(*raw));
        }
        return;
    }
    let mask = u64::from(u32::MAX >> (32 - bits));
    let (mut held, mut filled) = (0u64, 0u32);
    let mut bytes = bytes.iter();
    for value in values {
        while filled < bits {
            held |= u64::from(bytes.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        *value = (held & mask) as u32;
        held >>= bits;
        filled -= bits;
    }
}

/// Why an update was refused.
#[derive(Debug, Error)]
pub enum CodecError {
    /// A plan nobody can encode for.
    #[error("the plan's ring cannot be used: its bits, clip or weight cap are out of range")]
    Ring,
    /// Not the number of bytes the plan asks for.
    #[error("the update does not have the length that the plan asks for")]
    Length,
    /// An element outside of what quantisation can produce.
    #[error("element {element} of the update is out of its range")]
    OutOfRange {
        /// Position in the update; the weight comes last.
        element: usize,
    },
    /// A delta with NaN in it.
    #[error(
        "the delta holds a value that is not a number; training diverged\n  fix:  lower training.learning_rate"
    )]
    NotFinite,
    /// A site without examples, or a sum of none.
    #[error("there are no samples to weigh by")]
    NoSamples,
    /// The bytes could not be read.
    #[error("the update could not be read: {0}")]
    Read(#[source] io::Error),
}

impl CodecError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ring => "CH1201",
            Self::Length => "CH1202",
            Self::OutOfRange { .. } => "CH1203",
            Self::NotFinite => "CH1204",
            Self::NoSamples => "CH1205",
            Self::Read(_) => "CH1206",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(bits: u32, sites: u32) -> Ring {
        Ring::for_cohort(bits, 0.5, 1000, sites)
    }

    fn sum_of(ring: &Ring, updates: &[Vec<u8>], elements: usize) -> Mean {
        let mut sum = Accumulator::new(ring, elements).unwrap();
        for update in updates {
            ring.check(update.as_slice(), elements).unwrap();
            sum.add(update.as_slice()).unwrap();
        }
        sum.finish().unwrap()
    }

    #[test]
    fn weighted_mean_is_within_one_level() {
        let ring = ring(16, 3);
        let deltas = [vec![0.1f32, -0.2, 0.5], vec![0.3, 0.0, -0.5], vec![-0.1, 0.2, 0.25]];
        let samples = [1000u64, 500, 250];
        let updates: Vec<_> = deltas
            .iter()
            .zip(samples)
            .map(|(delta, n)| ring.encode(delta, n, [n as u8; 32]).unwrap().bytes)
            .collect();
        let mean = sum_of(&ring, &updates, 3);
        for element in 0..3 {
            let exact: f64 = deltas
                .iter()
                .zip(samples)
                .map(|(delta, n)| f64::from(delta[element]) * n as f64)
                .sum::<f64>()
                / 1750.0;
            assert!((f64::from(mean.values[element]) - exact).abs() < 1e-4, "{mean:?} {exact}");
        }
        assert!((mean.weight - 1.75).abs() < 1e-3);
    }

    #[test]
    fn rounding_is_unbiased() {
        let ring = ring(6, 1);
        let delta = vec![0.123f32; 40_000];
        let encoded = ring.encode(&delta, 1000, [3; 32]).unwrap();
        let mean = sum_of(&ring, &[encoded.bytes], delta.len());
        let average = mean.values.iter().sum::<f32>() / mean.values.len() as f32;
        assert!((average - 0.123).abs() < 2e-4, "{average}");
    }

    #[test]
    fn nan_is_refused_and_infinity_is_clipped() {
        let ring = ring(14, 3);
        assert_eq!(ring.encode(&[f32::NAN], 1, [0; 32]).unwrap_err().code(), "CH1204");
        let encoded = ring.encode(&[f32::INFINITY, 0.0], 1000, [0; 32]).unwrap();
        assert_eq!(encoded.clipped, 0.5);
        assert!((sum_of(&ring, &[encoded.bytes], 2).values[0] - 0.5).abs() < 1e-3);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let ring = ring(14, 3);
        let good = ring.encode(&[0.1; 100], 10, [1; 32]).unwrap().bytes;
        assert_eq!(ring.check(&good[1..], 100).unwrap_err().code(), "CH1202");
        assert_eq!(
            ring.check([&good[..], &[0]].concat().as_slice(), 100).unwrap_err().code(),
            "CH1202"
        );
        let mut out_of_range = good.clone();
        out_of_range[0] = 0xff;
        out_of_range[1] = 0x7f;
        assert_eq!(ring.check(out_of_range.as_slice(), 100).unwrap_err().code(), "CH1203");
        assert_eq!(ring.check(vec![0; good.len()].as_slice(), 100).unwrap_err().code(), "CH1203");
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_bytes(
            bits in 4u32..=20,
            elements in 1usize..300,
            seed: u64,
        ) {
            let ring = ring(bits, 4);
            let mut updates: Vec<Vec<u8>> = (0u8..4)
                .map(|site| {
                    let delta: Vec<f32> = (0..elements)
                        .map(|i| ((i as f32 + f32::from(site)) * 0.37 + seed as f32 * 1e-12).sin())
                        .collect();
                    ring.encode(&delta, 250 * (u64::from(site) + 1), [site; 32]).unwrap().bytes
                })
                .collect();
            prop_assert_eq!(updates[0].len(), ring.packed_len(elements));
            let forward = sum_of(&ring, &updates, elements);
            updates.rotate_left(1);
            updates.swap(0, 2);
            let shuffled = sum_of(&ring, &updates, elements);
            prop_assert_eq!(forward, shuffled);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, elements in 0usize..200) {
            let ring = ring(14, 3);
            let _ = ring.check(bytes.as_slice(), elements);
            if let Ok(mut sum) = Accumulator::new(&ring, elements) {
                let _ = sum.add(bytes.as_slice());
                let _ = sum.finish();
            }
        }
    }
}
