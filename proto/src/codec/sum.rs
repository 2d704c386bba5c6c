//! The sum of updates, and what is left when masks are taken off it.

use std::io::Read;
use std::num::NonZeroUsize;

use super::error::CodecError;
use super::pack::{pack, unpack};
use super::ring::{BLOCK, Ring};
use crate::secagg::{MaskSeed, Masks};

/// The running sum of updates: one integer per element, whatever the number of sites.
#[derive(Clone, Debug)]
pub struct Accumulator {
    ring: Ring,
    sum: Vec<u32>,
    updates: usize,
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

impl Accumulator {
    /// An empty sum over `elements` numbers and the weight.
    pub fn new(ring: &Ring, elements: usize) -> Result<Self, CodecError> {
        ring.check_parameters()?;
        Ok(Self { ring: *ring, sum: vec![0; elements + 1], updates: 0 })
    }

    /// Adds one packed update. After an error the sum is spoilt and must not be used.
    pub fn add(&mut self, reader: impl Read) -> Result<(), CodecError> {
        let (ring, sum) = (self.ring, &mut self.sum);
        let mut values = vec![0u32; BLOCK];
        ring.read(reader, sum.len() - 1, |index, bytes, count| {
            let slots = sum.get_mut(index..index + count).ok_or(CodecError::Length)?;
            add_packed(bytes, ring.ring_bits, slots, &mut values);
            Ok(())
        })?;
        self.updates += 1;
        Ok(())
    }

    /// Applies masks to the whole sum, on up to `threads` threads; their number changes nothing.
    pub fn unmask(&mut self, masks: &[MaskSeed], threads: NonZeroUsize) {
        let share = self.sum.len().div_ceil(threads.get()).next_multiple_of(BLOCK);
        let ring = &self.ring;
        std::thread::scope(|scope| {
            for (index, part) in self.sum.chunks_mut(share).enumerate() {
                scope.spawn(move || {
                    let mut masks = Masks::new(ring, masks, index * share);
                    part.chunks_mut(BLOCK).for_each(|block| masks.apply(block));
                });
            }
        });
    }

    /// The sum as packed ring elements: what [`Self::add`] turns into the same sum again.
    pub fn to_packed(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.ring.packed_len(self.sum.len() - 1)];
        let block = BLOCK * self.ring.ring_bits as usize / 8;
        for (values, bytes) in self.sum.chunks(BLOCK).zip(bytes.chunks_mut(block)) {
            pack(values, self.ring.ring_bits, bytes);
        }
        bytes
    }

    /// The weighted mean, as f32.
    pub fn finish(mut self) -> Result<Mean, CodecError> {
        let ring = self.ring;
        let weight = ring.signed(self.sum.pop().ok_or(CodecError::Length)?);
        if weight < 1 || self.updates == 0 {
            return Err(CodecError::NoSamples);
        }
        let scale = f64::from(ring.clip) / f64::from(weight);
        let mut sum = self.sum;
        pulp::Arch::new().dispatch(|| {
            for value in &mut sum {
                *value = ((f64::from(ring.signed(*value)) * scale) as f32).to_bits();
            }
        });
        // Same size and alignment: the vector's memory is reused.
        let values = sum.into_iter().map(f32::from_bits).collect();
        let weight = f64::from(weight) / f64::from(ring.top());
        Ok(Mean { values, weight, updates: self.updates })
    }
}

/// Adds a block of packed elements to the sum.
fn add_packed(bytes: &[u8], bits: u32, slots: &mut [u32], values: &mut [u32]) {
    if bits == 16 {
        pulp::Arch::new().dispatch(|| {
            for (slot, raw) in slots.iter_mut().zip(bytes.as_chunks().0) {
                *slot = slot.wrapping_add(u32::from(u16::from_le_bytes(*raw)));
            }
        });
        return;
    }
    let Some(values) = values.get_mut(..slots.len()) else { return };
    unpack(bytes, bits, values);
    pulp::Arch::new().dispatch(|| {
        for (slot, value) in slots.iter_mut().zip(values.iter()) {
            *slot = slot.wrapping_add(*value);
        }
    });
}
