//! The files of a release, computed from a run's evidence.
//!
//! ```text
//! adapter_config.json adapter_model.safetensors README.md   what people load
//! receipts.jsonl trainings.jsonl lineage.car                what happened
//! provenance.sigstore.json                                  SLSA provenance over the adapter
//! model.sig                                                 signature over all of the above
//! passport.json claims.jsonl                                signed on their own
//! ```

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::bundle::{Bundle, BundleError};
use crate::digest::Digest;
use crate::key::{PublicKey, SigningKey};
use crate::lineage::{Lineage, LineageError};
use crate::manifest::root_digest;
use crate::model_signing::sign_model;
use crate::passport::{PASSPORT_TYPE, Passport, PassportFacts};
use crate::predicate::{SLSA_TYPE, SlsaFacts, slsa};
use crate::run::{RunError, RunEvidence};
use crate::statement::{Statement, Subject};

/// The adapter's weights.
pub const ADAPTER: &str = "adapter_model.safetensors";
/// The adapter's configuration.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// What a release is made from.
pub struct ReleaseInput<'a> {
    /// In the registry.
    pub name: &'a str,
    /// In the registry.
    pub version: u32,
    /// RFC 3339.
    pub issued_at: &'a str,
    /// The recipe's JSON.
    pub recipe_json: &'a str,
    /// The key that signed the receipts.
    pub coordinator_key: &'a PublicKey,
    /// One a round.
    pub receipts: &'a [Bundle],
    /// One for every update that counted.
    pub trainings: &'a [Bundle],
    /// The adapter's weights.
    pub adapter: &'a [u8],
    /// The adapter's configuration.
    pub adapter_config: &'a [u8],
    /// RFC 3339.
    pub started_at: &'a str,
    /// RFC 3339.
    pub finished_at: &'a str,
    /// The coordinator's version.
    pub coordinator_version: &'a str,
}

/// A release, ready to be stored.
#[derive(Clone, Debug)]
pub struct Release {
    /// By name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Over the signed files.
    pub root: Digest,
    /// As it is in `passport.json`.
    pub passport: Passport,
}

impl Release {
    /// Checks the evidence and signs the release with the registry's key.
    pub fn assemble(input: &ReleaseInput<'_>, key: &SigningKey) -> Result<Self, ReleaseError> {
        let run = RunEvidence::verify(input.coordinator_key, input.receipts, input.trainings)?;
        if run.adapter() != Some(Digest::of(input.adapter)) {
            return Err(ReleaseError::Adapter);
        }
        let last = run.receipts.last().map(|(_, receipt)| receipt.recipe_digest);
        if last != Some(Digest::of(input.recipe_json.as_bytes())) {
            return Err(ReleaseError::Recipe);
        }
        let recipe: Value =
            serde_json::from_str(input.recipe_json).map_err(|_| ReleaseError::Recipe)?;
        let base_name = recipe.pointer("/base/name").and_then(Value::as_str).unwrap_or_default();
        let title = format!("{}@{}", input.name, input.version);
        let lineage = Lineage::of_run(base_name, &title, &run.receipts, &run.trainings)?;
        let car = lineage.to_car()?;
        let provenance = slsa(&SlsaFacts {
            recipe: &recipe,
            base_name,
            coordinator_key: input.coordinator_key,
            receipts: &run.receipts,
            trainings: &run.trainings,
            lineage: Digest::of(&car),
            started_at: input.started_at,
            finished_at: input.finished_at,
            version: input.coordinator_version,
        });
        let subjects = vec![
            Subject::new(ADAPTER, Digest::of(input.adapter)),
            Subject::new(ADAPTER_CONFIG, Digest::of(input.adapter_config)),
        ];
        let provenance = Bundle::sign(&Statement::new(subjects, SLSA_TYPE, &provenance), key)?;
        let mut files = BTreeMap::from([
            (ADAPTER.to_owned(), input.adapter.to_vec()),
            (ADAPTER_CONFIG.to_owned(), input.adapter_config.to_vec()),
            ("README.md".to_owned(), card(input, base_name, &run).into_bytes()),
            ("lineage.car".to_owned(), car),
            ("provenance.sigstore.json".to_owned(), provenance.to_json().into_bytes()),
            ("receipts.jsonl".to_owned(), lines(input.receipts)),
            ("trainings.jsonl".to_owned(), lines(input.trainings)),
        ]);
        let digests: Vec<(String, Digest)> =
            files.iter().map(|(name, bytes)| (name.clone(), Digest::of(bytes))).collect();
        let root = root_digest(digests.iter().map(|(_, digest)| digest));
        let signature = sign_model(input.name, &digests, key)?;
        let passport = Passport::of(&PassportFacts {
            name: input.name,
            version: input.version,
            issued_at: input.issued_at,
            recipe: &recipe,
            run: &run,
            root,
            lineage: &lineage.root().to_string(),
            coordinator: &input.coordinator_key.fingerprint(),
        });
        let statement =
            Statement::new(vec![Subject::new(input.name, root)], PASSPORT_TYPE, &passport);
        let signed_passport = Bundle::sign(&statement, key)?;
        let claims = claims(&signature, &provenance, &signed_passport);
        files.insert("model.sig".to_owned(), signature.to_json().into_bytes());
        files.insert("passport.json".to_owned(), signed_passport.to_json().into_bytes());
        files.insert("claims.jsonl".to_owned(), claims);
        Ok(Self { files, root, passport })
    }
}

/// Everything the registry says of a release, in one file that tools for model signatures look for.
pub(crate) fn claims(signature: &Bundle, provenance: &Bundle, passport: &Bundle) -> Vec<u8> {
    [signature, provenance, passport].into_iter().flat_map(line).collect()
}

fn lines(bundles: &[Bundle]) -> Vec<u8> {
    bundles.iter().flat_map(line).collect()
}

fn line(bundle: &Bundle) -> Vec<u8> {
    (bundle.to_json() + "\n").into_bytes()
}

/// A model card as the Hugging Face Hub reads it.
fn card(input: &ReleaseInput<'_>, base_name: &str, run: &RunEvidence) -> String {
    let rounds = run.receipts.len();
    let sites = run.receipts.last().map_or(0, |(_, receipt)| receipt.roster.len());
    format!(
        "---\nbase_model: {base_name}\nbase_model_relation: adapter\nlibrary_name: peft\ntags:\n- lora\n- federated\n---\n\n\
         # {} {}\n\n\
         A LoRA adapter that {sites} institutions fine-tuned together in {rounds} rounds, without showing one another\n\
         their data. `passport.json` says what is known about it and what proves it.\n\n\
         Check it offline:\n\n```\nchancery verify . --registry-key registry.pub\n\
         model_signing verify key . --signature model.sig --public_key registry.pub\n\
         cosign verify-blob-attestation --key registry.pub --insecure-ignore-tlog --type slsaprovenance1 \\\n  \
         --bundle provenance.sigstore.json adapter_model.safetensors\n```\n",
        input.name, input.version,
    )
}

/// Why a release could not be made.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The receipts or the training statements.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The adapter is not the one the last receipt names.
    #[error("the adapter is not the one that the last receipt names")]
    Adapter,
    /// The recipe is not the one the receipts name.
    #[error("the recipe is not the one that the receipts name")]
    Recipe,
    /// The lineage.
    #[error("lineage: {0}")]
    Lineage(#[from] LineageError),
    /// Signing.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ReleaseError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Run(error) => error.code(),
            Self::Adapter => "CH5501",
            Self::Recipe => "CH5502",
            Self::Lineage(_) => "CH5503",
            Self::Bundle(error) => error.code(),
        }
    }
}
