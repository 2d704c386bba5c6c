//! The update codec: a weighted delta as integers in a ring, so that a sum does not depend on order.
//!
//! A site multiplies its clipped delta by its weight in `(0, 1]`, rounds every element stochastically
//! to an integer of at most `top`, appends the weight itself as one more element, and packs all
//! of them into `ring_bits` each (little-endian bit order). `ring_bits` leaves room for the sum of
//! the whole cohort, so a sum modulo `2^ring_bits` is the exact integer sum. Clipping makes NaN and
//! infinity unrepresentable and bounds what one site can do.
//!
//! Nothing but the plan says how the bytes are to be read; there is no header.
//!
//! The inner loops are plain Rust, compiled for several generations of processors and chosen while
//! running (`kernel`).

mod encode;
mod error;
mod lane;
mod pack;
mod ring;
mod sum;

pub use encode::{Encoded, Loss};
pub use error::CodecError;
pub(crate) use lane::Lane;
pub(crate) use pack::{pack, unpack};
pub(crate) use ring::BLOCK;
pub use ring::Ring;
pub use sum::{Accumulator, Mean};

#[cfg(test)]
mod tests;
