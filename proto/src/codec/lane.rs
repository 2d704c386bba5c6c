//! Ring elements in memory: 16 bits each in rings of up to 16 bits, 32 in larger ones. Sums wrap at the
//! lane's width, which a ring's own width divides.

/// An unsigned integer that holds one ring element.
pub(crate) trait Lane: Copy + Default + Send {
    /// Bytes of one element of a key stream.
    const BYTES: usize;

    /// The low bits of a value.
    fn narrow(value: u32) -> Self;

    /// The value, extended by zeros.
    fn wide(self) -> u32;

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

            fn add_each(values: &mut [Self], other: &[Self]) {
                pulp::Arch::new().dispatch(|| {
                    for (value, other) in values.iter_mut().zip(other) {
                        *value = value.wrapping_add(*other);
                    }
                });
            }

            fn add_bytes(values: &mut [Self], bytes: &[u8]) {
                pulp::Arch::new().dispatch(|| {
                    for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
                        *value = value.wrapping_add(Self::from_le_bytes(*raw));
                    }
                });
            }

            fn subtract_bytes(values: &mut [Self], bytes: &[u8]) {
                pulp::Arch::new().dispatch(|| {
                    for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
                        *value = value.wrapping_sub(Self::from_le_bytes(*raw));
                    }
                });
            }
        }
    };
}

lane!(u16, 2);
lane!(u32, 4);
