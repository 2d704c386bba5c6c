//! The protocol of a federation: what is said between a site and the coordinator, and what it means.
//!
//! Pure: no clock, no sockets, no files.

mod adapter;
pub mod aggregation;
mod codec;
#[cfg(feature = "rpc")]
mod convert;
mod kernel;
mod plan;
mod recipe;
mod replay;
pub mod request;
mod schedule;
pub mod secagg;
#[cfg(feature = "rpc")]
mod signed;
mod sketch;
mod sparsity;
mod tensor;
mod token;
mod update;
#[cfg(feature = "rpc")]
pub mod wire;

pub use adapter::{
    AdapterConfig, AdapterError, BaseShape, Factor, Factors, Target, peft_config, tensor_name,
};
pub use codec::{Accumulator, CodecError, Encoded, Loss, Mean, Ring};
#[cfg(feature = "rpc")]
pub use convert::{Malformed, release, released_shares};
pub use plan::{Downlink, Moment, PLAN_CONTEXT, Plan};
pub use recipe::{
    Base, Codec, Federation, Method, Privacy, PrivacyMode, Recipe, RecipeError, SAMPLE, Training,
};
pub use replay::{ReplayError, Summand, replay};
#[cfg(feature = "rpc")]
pub use signed::{Caller, Signed};
pub use sketch::{Deviation, Sketch};
pub use sparsity::Places;
pub use tensor::{Tensor, TensorError, Tensors, to_f32};
pub use token::{JoinToken, TOKEN_SECRET, TokenError};
pub use update::UpdateError;
