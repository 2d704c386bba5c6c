//! Ring elements in memory: 16 bits each in rings of up to 16 bits, 32 in larger ones. Sums wrap at the
//! lane's width, which a ring's own width divides.

use crate::kernel::kernel;

/// An unsigned integer that holds one ring element.
pub(crate) trait Lane: Copy + Default + Send + 'static {
    /// Bytes of one element of a key stream.
    const BYTES: usize;

    /// The low bits of a value.
    fn narrow(value: u32) -> Self;

    /// The value, extended by zeros.
    fn wide(self) -> u32;

    /// Stores values of 16 bits, four to a word and the lowest first.
    fn store(words: [u64; 16], values: &mut [Self]);

    /// Adds to each value the element of `other` beside it.
    fn add_each(values: &mut [Self], other: &[Self]);

    /// Adds to each value the little-endian element of `bytes` beside it.
    fn add_bytes(values: &mut [Self], bytes: &[u8]);

    /// Takes the same off.
    fn subtract_bytes(values: &mut [Self], bytes: &[u8]);
}

macro_rules! lane {
    ($lane:ty, $bytes:literal) => {
        impl Lane for $lane {
            const BYTES: usize = $bytes;

            #[inline(always)]
            fn narrow(value: u32) -> Self {
                value as Self
            }

            #[inline(always)]
            fn wide(self) -> u32 {
                u32::from(self)
            }

            #[inline(always)]
            fn store(words: [u64; 16], values: &mut [Self]) {
                let raw: [[u8; 2]; 64] = pulp::bytemuck::cast(words.map(u64::to_le_bytes));
                for (value, raw) in values.iter_mut().zip(raw) {
                    *value = u16::from_le_bytes(raw) as Self;
                }
            }

            fn add_each(values: &mut [Self], other: &[Self]) {
                kernel! {
                    fn run<'a>(values: &'a mut [$lane], other: &'a [$lane]) -> () {
                        for (value, other) in values.iter_mut().zip(other) {
                            *value = value.wrapping_add(*other);
                        }
                    }
                }
                run(values, other);
            }

            fn add_bytes(values: &mut [Self], bytes: &[u8]) {
                kernel! {
                    fn run<'a>(values: &'a mut [$lane], bytes: &'a [u8]) -> () {
                        for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
                            *value = value.wrapping_add(<$lane>::from_le_bytes(*raw));
                        }
                    }
                }
                run(values, bytes);
            }

            fn subtract_bytes(values: &mut [Self], bytes: &[u8]) {
                kernel! {
                    fn run<'a>(values: &'a mut [$lane], bytes: &'a [u8]) -> () {
                        for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
                            *value = value.wrapping_sub(<$lane>::from_le_bytes(*raw));
                        }
                    }
                }
                run(values, bytes);
            }
        }
    };
}

lane!(u16, 2);
lane!(u32, 4);
