//! What becomes of a round's updates: one vector out of many, and the step it causes.
//!
//! ```text
//! rule                               way                                               passes
//! median, trimmed mean               sorted coordinates                                     1
//! mean                               weights -> shares -> sum                               1
//! norm bound                         weights, norms -> shares -> sum                        2
//! Krum, Multi-Krum, geometric median Gram matrix -> shares -> sum                           2
//! Bulyan                             Gram matrix -> choice -> sorted coordinates            2
//! ```
//!
//! Every pass reads all updates side by side, block by block (`Updates`). Memory is one model for
//! the result and one block of each update, whatever the size of the model.
//!
//! Only the mean and the norm bound look at sample counts. The others count each site once: a count
//! is what a site says of itself, and a rule that is to survive liars must not let a number buy
//! votes.
//!
//! Beside the rules, which go number by number, `factored` goes by products of LoRA factors.
//!
//! To add a rule: 1. a variant of `Rule` with what it needs of the number of updates; 2. a function
//! from a `Gram` to shares, or from sorted coordinates to values; 3. a plain reference in `tests`.

mod bound;
mod change;
mod error;
mod factored;
mod geometric;
mod gram;
mod halves;
mod mean;
mod network;
mod optimiser;
mod order;
mod packed;
mod rule;
mod selection;
mod source;
mod step;

pub use change::Change;
pub use error::RuleError;
pub use factored::{Discarded, Seen, Stacked};
pub use gram::Gram;
pub use halves::{halves_size, read_halves};
pub use optimiser::{ServerOptimiser, State};
pub use packed::PackedUpdates;
pub use rule::{Outcome, Rule};
pub use source::{Each, Memory, Updates};
pub use step::ServerState;

#[cfg(test)]
mod tests;
