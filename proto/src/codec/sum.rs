//! The sum of updates, and what is left when masks are taken off it.

use std::io::Read;
use std::num::NonZeroUsize;

use super::error::CodecError;
use super::lane::Lane;
use super::pack::{pack, unpack};
use super::ring::{BLOCK, Ring};
use crate::kernel::kernel;
use crate::secagg::{MaskSeed, Masks};

/// The running sum of updates: one integer per element, whatever the number of sites.
#[derive(Clone, Debug)]
pub struct Accumulator {
    ring: Ring,
    sum: Sum,
    updates: usize,
}

#[derive(Clone, Debug)]
enum Sum {
    /// Of rings of up to 16 bits.
    Narrow(Vec<u16>),
    /// Of larger ones.
    Wide(Vec<u32>),
}

/// Calls `$call` with the sum, whatever its width.
macro_rules! with {
    ($sum:expr, $name:ident => $call:expr) => {
        match $sum {
            Sum::Narrow($name) => $call,
            Sum::Wide($name) => $call,
        }
    };
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
        let sum = match ring.ring_bits {
            ..=16 => Sum::Narrow(vec![0; elements + 1]),
            _ => Sum::Wide(vec![0; elements + 1]),
        };
        Ok(Self { ring: *ring, sum, updates: 0 })
    }

    /// Adds one packed update. After an error the sum is spoilt and must not be used.
    pub fn add(&mut self, reader: impl Read) -> Result<(), CodecError> {
        with!(&mut self.sum, sum => add(&self.ring, reader, sum))?;
        self.updates += 1;
        Ok(())
    }

    /// Applies masks to the whole sum, on up to `threads` threads; their number changes nothing.
    pub fn unmask(&mut self, masks: &[MaskSeed], threads: NonZeroUsize) {
        with!(&mut self.sum, sum => unmask(sum, masks, threads));
    }

    /// The sum as packed ring elements: what [`Self::add`] turns into the same sum again.
    pub fn to_packed(&self) -> Vec<u8> {
        with!(&self.sum, sum => packed(&self.ring, sum))
    }

    /// The weighted mean, as f32.
    pub fn finish(self) -> Result<Mean, CodecError> {
        let mut values = Vec::new();
        let weight = self.mean_into(&mut values)?;
        Ok(Mean { values, weight, updates: self.updates })
    }

    /// The same into memory that is there already, whose contents are lost; gives the weights' sum.
    pub fn mean_into(&self, values: &mut Vec<f32>) -> Result<f64, CodecError> {
        let weight = with!(&self.sum, sum => decode(&self.ring, sum, values))?;
        if self.updates == 0 {
            return Err(CodecError::NoSamples);
        }
        Ok(f64::from(weight) / f64::from(self.ring.top))
    }
}

fn add<L: Lane>(ring: &Ring, reader: impl Read, sum: &mut [L]) -> Result<(), CodecError> {
    let mut values = [L::default(); BLOCK];
    ring.read(reader, sum.len() - 1, |index, bytes, count| {
        let slots = sum.get_mut(index..index + count).ok_or(CodecError::Length)?;
        // As many bits as the lane has: the bytes are the elements.
        if ring.ring_bits as usize == 8 * L::BYTES {
            L::add_bytes(slots, bytes);
            return Ok(());
        }
        let values = values.get_mut(..count).ok_or(CodecError::Length)?;
        unpack(bytes, ring.ring_bits, values);
        L::add_each(slots, values);
        Ok(())
    })
}

fn unmask<L: Lane>(sum: &mut [L], masks: &[MaskSeed], threads: NonZeroUsize) {
    let share = sum.len().div_ceil(threads.get()).next_multiple_of(BLOCK);
    std::thread::scope(|scope| {
        for (index, part) in sum.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                let mut masks = Masks::new::<L>(masks, index * share);
                part.chunks_mut(BLOCK).for_each(|block| masks.apply(block));
            });
        }
    });
}

fn packed<L: Lane>(ring: &Ring, sum: &[L]) -> Vec<u8> {
    let mut bytes = vec![0; ring.packed_len(sum.len() - 1)];
    let block = BLOCK * ring.ring_bits as usize / 8;
    for (values, bytes) in sum.chunks(BLOCK).zip(bytes.chunks_mut(block)) {
        pack(values, ring.ring_bits, bytes);
    }
    bytes
}

/// Writes the weighted mean and gives the weight's level.
fn decode<L: Lane>(ring: &Ring, sum: &[L], values: &mut Vec<f32>) -> Result<i32, CodecError> {
    let (weight, sum) = sum.split_last().ok_or(CodecError::Length)?;
    let weight = ring.signed(weight.wide());
    values.resize(sum.len(), 0.0);
    if weight < 1 {
        return Err(CodecError::NoSamples);
    }
    scale_each(ring, sum, f64::from(ring.clip) / f64::from(weight), values);
    Ok(weight)
}

kernel! {
    fn scale_each<'a, L: Lane>(
        ring: &'a Ring,
        sum: &'a [L],
        scale: f64,
        values: &'a mut [f32],
    ) -> () {
        for (value, element) in values.iter_mut().zip(sum) {
            *value = (f64::from(ring.signed(element.wide())) * scale) as f32;
        }
    }
}
