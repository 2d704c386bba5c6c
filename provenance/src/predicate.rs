//! What is said: round receipts, training statements, provenance, each with its type.

mod audit;
mod receipt;
mod slsa;
mod training;

pub use audit::{AUDIT_TYPE, Audit, AuditedRound};
pub use receipt::{
    AggregationError, Discarded, Evaluated, Participation, RECEIPT_TYPE, Receipt, Refusal, Score,
    Traffic,
};
pub use slsa::{BUILD_TYPE, SLSA_TYPE, SlsaFacts, slsa};
pub use training::{Environment, TRAINING_TYPE, TrainingStatement};
