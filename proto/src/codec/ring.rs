//! The ring of one round, and updates that are read in the clear.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::error::CodecError;
use super::pack::unpack;

/// Elements that are packed or unpacked at once: the codec's working memory, which with a key stream
/// beside it fits into a first-level cache. A multiple of eight, so that only the last block ends inside
/// of a byte.
pub(crate) const BLOCK: usize = 4 * 1024;

/// How one round's updates are written as integers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Ring {
    /// Bits of one packed element.
    pub ring_bits: u32,
    /// The largest integer an element can have before the sum.
    pub top: i32,
    /// Elements are clipped to `[-clip, clip]`.
    pub clip: f32,
    /// The sample count that weighs 1; larger ones weigh 1 too.
    pub weight_cap: u32,
}

impl Ring {
    /// The ring for sums of up to `sites` updates whose elements have at least so many bits, sign included.
    /// Where the number of sites is no power of two, they share what is left of the ring.
    pub fn for_cohort(quantisation_bits: u32, clip: f32, weight_cap: u32, sites: u32) -> Self {
        let sites = sites.max(1);
        let ring_bits = quantisation_bits + sites.next_power_of_two().trailing_zeros();
        let half = 1i64 << (ring_bits.clamp(1, 32) - 1);
        let top = ((half - 1) / i64::from(sites)) as i32;
        Self { ring_bits, top, clip, weight_cap }
    }

    /// Refuses a ring that cannot be used, whoever proposed it.
    pub fn check_parameters(&self) -> Result<(), CodecError> {
        let ok = (4..=32).contains(&self.ring_bits)
            // Rounding is exact below this.
            && (1..1 << 21).contains(&self.top)
            && i64::from(self.top) < 1i64 << (self.ring_bits - 1)
            && self.clip > 0.0
            && self.clip.is_finite()
            && self.weight_cap > 0;
        if ok { Ok(()) } else { Err(CodecError::Ring) }
    }

    /// Bytes of an update of `elements` numbers; the weight is one more.
    pub fn packed_len(&self, elements: usize) -> usize {
        (elements + 1).saturating_mul(self.ring_bits as usize).div_ceil(8)
    }

    /// The weight of a site with `samples` examples.
    pub fn weight(&self, samples: u64) -> f64 {
        (samples as f64 / f64::from(self.weight_cap)).min(1.0)
    }

    pub(crate) fn weight_level(&self, samples: u64) -> i32 {
        ((self.weight(samples) * f64::from(self.top)).round() as i32).max(1)
    }

    /// The signed integer that a ring element stands for.
    #[inline(always)]
    pub(crate) fn signed(&self, value: u32) -> i32 {
        let shift = 32 - self.ring_bits;
        (value << shift) as i32 >> shift
    }

    /// Checks one update in the clear: right length, every element within its range, a weight above 0.
    pub fn check(&self, reader: impl Read, elements: usize) -> Result<(), CodecError> {
        let top = self.top;
        let mut last = 0;
        let mut values = vec![0u32; BLOCK];
        self.read(reader, elements, |index, bytes, count| {
            let Some(values) = values.get_mut(..count) else { return Ok(()) };
            unpack(bytes, self.ring_bits, values);
            let outside = |value: &u32| !(-top..=top).contains(&self.signed(*value));
            if let Some(offset) = values.iter().position(outside) {
                return Err(CodecError::OutOfRange { element: index + offset });
            }
            last = values.last().map_or(0, |value| self.signed(*value));
            Ok(())
        })?;
        if last < 1 { Err(CodecError::OutOfRange { element: elements }) } else { Ok(()) }
    }

    /// Checks a masked update: the right length, and nothing in the bits after the last element. What
    /// the elements are, nobody can see.
    pub fn check_masked(&self, mut reader: impl Read, elements: usize) -> Result<(), CodecError> {
        let spare = self.packed_len(elements) * 8 - (elements + 1) * self.ring_bits as usize;
        let mut last = 0;
        self.read(&mut reader, elements, |_, bytes, _| {
            last = bytes.last().copied().unwrap_or_default();
            Ok(())
        })?;
        if spare > 0 && last >> (8 - spare) != 0 {
            return Err(CodecError::OutOfRange { element: elements + 1 });
        }
        Ok(())
    }

    /// Hands out the bytes of `elements + 1` values block by block: the first element's index, the
    /// bytes, and how many elements they hold.
    pub(crate) fn read(
        &self,
        mut reader: impl Read,
        elements: usize,
        mut each: impl FnMut(usize, &[u8], usize) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        self.check_parameters()?;
        let total = elements + 1;
        let mut bytes = vec![0u8; BLOCK * self.ring_bits as usize / 8];
        let mut done = 0;
        while done < total {
            let count = BLOCK.min(total - done);
            let len = (count * self.ring_bits as usize).div_ceil(8);
            let Some(block) = bytes.get_mut(..len) else { return Err(CodecError::Length) };
            reader.read_exact(block).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => CodecError::Length,
                _ => CodecError::Read(e),
            })?;
            each(done, block, count)?;
            done += count;
        }
        match reader.read(&mut [0u8; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(CodecError::Length),
            Err(e) => Err(CodecError::Read(e)),
        }
    }
}
