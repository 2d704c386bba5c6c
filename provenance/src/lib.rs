//! Evidence: digests, signed statements, lineage, passports, and their verification.
//!
//! Synchronous and offline: nothing here opens a connection or reads a clock.

mod bundle;
mod digest;
mod key;
mod lineage;
mod manifest;
mod model_signing;
mod passport;
mod predicate;
mod release;
mod run;
mod statement;
mod verdict;
mod verify;

pub use bundle::{BUNDLE_LIMIT, Bundle, BundleError, MEDIA_TYPE, PAYLOAD_TYPE, pae};
pub use digest::{Digest, DigestError, Hasher};
pub use key::{Algorithm, KeyError, PublicKey, SigningKey, pem, pem_body, write_secret};
pub use lineage::{Lineage, LineageError, Link, Node};
pub use manifest::{Manifest, ManifestError, ManifestFile, base_manifest, root_digest, tree_files};
pub use model_signing::{
    Difference, IGNORED, MODEL_SIGNING_TYPE, ModelSignature, compare, model_statement, sign_model,
};
pub use passport::{
    Field, PASSPORT_TYPE, Passport, PassportError, PassportFacts, Section, Support, TaskResult,
};
pub use predicate::{
    AUDIT_TYPE, AggregationError, Audit, AuditedRound, BUILD_TYPE, Discarded, Environment,
    Evaluated, Participation, RECEIPT_TYPE, Receipt, Refusal, SLSA_TYPE, Score, SlsaFacts,
    TRAINING_TYPE, Traffic, TrainingStatement, slsa,
};
pub use release::{ADAPTER, ADAPTER_CONFIG, Release, ReleaseError, ReleaseInput};
pub use run::{RunError, RunEvidence};
pub use statement::{DigestSet, STATEMENT_TYPE, Statement, Subject};
pub use verdict::{Check, Report, Verdict};
pub use verify::{Policy, verify_bundle, verify_release};
