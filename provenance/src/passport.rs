//! The model passport: what there is to know about an adapter, each field with what proves it.
//!
//! It is computed from verified statements alone, so whoever holds them computes the same one.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::{BUNDLE_LIMIT, Bundle, BundleError};
use crate::digest::Digest;
use crate::predicate::{Receipt, Score};
use crate::run::RunEvidence;

/// The predicate's type.
pub const PASSPORT_TYPE: &str = "https://chancery.dev/passport/v1";

/// A passport.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passport {
    /// The adapter's name in its registry.
    pub name: String,
    /// Its version there.
    pub version: u32,
    /// RFC 3339.
    pub issued_at: String,
    /// Fields by subject.
    pub sections: Vec<Section>,
    /// How well it does, by task.
    pub results: Vec<TaskResult>,
    /// Of the lineage graph's root.
    pub lineage: String,
}

/// Fields about one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The subject.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// What it is.
    pub name: String,
    /// Empty when missing.
    pub value: String,
    /// What there is for it.
    pub evidence: Support,
}

/// What there is for a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Support {
    /// A signed statement, or the bytes themselves, in this file of the release.
    Proved {
        /// The file.
        file: String,
    },
    /// Somebody's word.
    Declared {
        /// Whose.
        by: String,
    },
    /// Nothing.
    Missing,
}

/// One task's figures before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskResult {
    /// What the site calls its task.
    pub task: String,
    /// The site.
    pub pseudonym: String,
    /// Without the adapter.
    pub base: Option<Score>,
    /// With it.
    pub adapter: Score,
}

/// What a passport is computed from; all of it verified before.
pub struct PassportFacts<'a> {
    /// Name, version and date as the registry gave them.
    pub name: &'a str,
    /// See above.
    pub version: u32,
    /// See above.
    pub issued_at: &'a str,
    /// The recipe's JSON.
    pub recipe: &'a Value,
    /// Receipts and training statements.
    pub run: &'a RunEvidence,
    /// Of the release's files.
    pub root: Digest,
    /// Of the lineage graph's root.
    pub lineage: &'a str,
    /// The key that signed the receipts.
    pub coordinator: &'a str,
}

impl Passport {
    /// Computes the passport.
    pub fn of(facts: &PassportFacts<'_>) -> Self {
        let receipts: Vec<&Receipt> = facts.run.receipts.iter().map(|(_, r)| r).collect();
        Self {
            name: facts.name.to_owned(),
            version: facts.version,
            issued_at: facts.issued_at.to_owned(),
            sections: vec![
                identity(facts, &receipts),
                training(facts, &receipts),
                privacy(&receipts),
                signatures(facts),
                unknown(),
            ],
            results: results(&receipts),
            lineage: facts.lineage.to_owned(),
        }
    }

    /// Reads the passport of a pulled release, without checking it.
    pub fn read_release(dir: &Path) -> Result<Self, PassportError> {
        let path = dir.join("passport.json");
        let size = std::fs::metadata(&path).map(|m| m.len()).unwrap_or(0);
        if size == 0 || size > BUNDLE_LIMIT as u64 {
            return Err(PassportError::NotFound { path });
        }
        let bytes = std::fs::read(&path).map_err(|_| PassportError::NotFound { path })?;
        let statement = Bundle::parse(&bytes)?.unverified()?;
        statement.predicate_as(PASSPORT_TYPE).ok_or(PassportError::Bundle(BundleError::Malformed))
    }
}

fn proved(name: &str, value: impl fmt::Display, file: &str) -> Field {
    let evidence = Support::Proved { file: file.to_owned() };
    Field { name: name.to_owned(), value: value.to_string(), evidence }
}

fn declared(name: &str, value: impl fmt::Display, by: &str) -> Field {
    let value = value.to_string();
    if value.is_empty() {
        return missing(name);
    }
    Field { name: name.to_owned(), value, evidence: Support::Declared { by: by.to_owned() } }
}

fn missing(name: &str) -> Field {
    Field { name: name.to_owned(), value: String::new(), evidence: Support::Missing }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(ToString::to_string).unwrap_or_default()
}

fn identity(facts: &PassportFacts<'_>, receipts: &[&Receipt]) -> Section {
    let recipe = facts.recipe;
    let adapter = receipts.last().map(|r| r.adapter_after.to_string()).unwrap_or_default();
    let base = receipts.last().map(|r| r.base_digest.to_string()).unwrap_or_default();
    let targets: Vec<&str> = recipe
        .pointer("/adapter/targets")
        .and_then(Value::as_array)
        .map(|targets| targets.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    Section {
        title: "What it is".to_owned(),
        fields: vec![
            declared("Description", text(recipe, "/description"), "the operator's recipe"),
            proved("Kind", "LoRA adapter in PEFT layout", "adapter_config.json"),
            proved("Adapter digest", adapter, "adapter_model.safetensors"),
            proved("Release digest", facts.root, "model.sig"),
            declared("Base model", text(recipe, "/base/name"), "the operator's recipe"),
            proved("Base model digest", base, "receipts.jsonl"),
            proved(
                "Rank and alpha",
                format!(
                    "{} and {}",
                    number(recipe, "/adapter/rank"),
                    number(recipe, "/adapter/alpha")
                ),
                "provenance.sigstore.json",
            ),
            proved("Modules", targets.join(", "), "provenance.sigstore.json"),
        ],
    }
}

fn training(facts: &PassportFacts<'_>, receipts: &[&Receipt]) -> Section {
    let mut sites: Vec<&str> =
        receipts.iter().flat_map(|r| r.participants.iter().map(|p| p.pseudonym.as_str())).collect();
    sites.sort_unstable();
    sites.dedup();
    let mut commitments: Vec<String> = facts
        .run
        .trainings
        .iter()
        .map(|(_, training)| training.dataset_commitment.to_string())
        .collect();
    commitments.sort();
    commitments.dedup();
    let updates: usize = receipts.iter().map(|r| r.participants.len()).sum();
    let refused: usize = receipts.iter().map(|r| r.refused.len()).sum();
    let up: u64 = receipts.iter().map(|r| r.traffic.up).sum();
    let down: u64 = receipts.iter().map(|r| r.traffic.down).sum();
    let last = receipts.last();
    let method = last.map_or("", |r| r.method.as_str());
    let exact = last.is_some_and(|r| r.exact);
    let worst = receipts
        .iter()
        .filter_map(|r| r.aggregation_error)
        .fold(None, |worst: Option<f64>, e| Some(worst.map_or(e.relative, |w| w.max(e.relative))));
    let exactness = match worst {
        Some(worst) if method == "stack" => {
            let percent = worst * 100.0;
            format!(
                "the sum is exact; its cut to the adapter's rank misses up to {percent:.1} % a round"
            )
        }
        _ if exact => "the sum is exact".to_owned(),
        Some(worst) => format!("the average is inexact, by up to {:.1} % a round", worst * 100.0),
        None => "the average is inexact".to_owned(),
    };
    Section {
        title: "How it was trained".to_owned(),
        fields: vec![
            proved("Run", last.map_or("", |r| r.run.as_str()), "receipts.jsonl"),
            proved(
                "Institutions",
                format!("{} ({})", sites.len(), sites.join(", ")),
                "receipts.jsonl",
            ),
            proved("Rounds", receipts.len(), "receipts.jsonl"),
            proved("Updates counted", updates, "receipts.jsonl"),
            proved("Messages refused", refused, "receipts.jsonl"),
            proved("Training statements", facts.run.trainings.len(), "trainings.jsonl"),
            proved(
                "Data sets",
                format!("{} salted commitments", commitments.len()),
                "trainings.jsonl",
            ),
            proved("Aggregation", format!("{method}, {exactness}"), "receipts.jsonl"),
            proved(
                "Steps per round",
                number(facts.recipe, "/training/steps"),
                "provenance.sigstore.json",
            ),
            proved("Bytes at the socket", format!("{up} up, {down} down"), "receipts.jsonl"),
            proved("Finished", last.map_or("", |r| r.finished_at.as_str()), "receipts.jsonl"),
        ],
    }
}

fn privacy(receipts: &[&Receipt]) -> Section {
    let last = receipts.last();
    let mode = last.map_or("", |r| r.mode.as_str());
    let opening = last.filter(|r| r.threshold > 0).map(|r| {
        let all = receipts.iter().all(|r| r.transcript.is_some());
        let record = if all { "an auditor can compute every sum again" } else { "" };
        let (threshold, sites) = (r.threshold, r.roster.len());
        proved(
            "Secure aggregation",
            format!("{threshold} of {sites} sites open a sum; {record}"),
            "receipts.jsonl",
        )
    });
    let words = match mode {
        "trusted" => {
            "The coordinator could see each institution's update. No raw data left any institution."
        }
        "masked" => {
            "Nobody, the coordinator included, could see one institution's update; only the sum was opened. No raw data left any institution."
        }
        _ => "",
    };
    Section {
        title: "Privacy".to_owned(),
        fields: [
            proved("Mode", mode, "receipts.jsonl"),
            declared("In words", words, "the protocol"),
        ]
        .into_iter()
        .chain(opening)
        .chain([missing("Differential privacy")])
        .collect(),
    }
}

fn signatures(facts: &PassportFacts<'_>) -> Section {
    Section {
        title: "Signatures".to_owned(),
        fields: vec![
            proved("Model signature", "OpenSSF Model Signing v1.0, P-256", "model.sig"),
            proved("Provenance", "SLSA provenance v1 in DSSE", "provenance.sigstore.json"),
            proved("Coordinator's key", facts.coordinator, "provenance.sigstore.json"),
            proved("Lineage root", facts.lineage, "lineage.car"),
        ],
    }
}

/// What a reader may look for and will not find; said rather than left out.
fn unknown() -> Section {
    let fields = ["Licence", "Intended use", "Approvals", "Energy used"].map(missing).to_vec();
    Section { title: "Not known".to_owned(), fields }
}

/// The last round's figures, with the base model's from the round that measured them.
fn results(receipts: &[&Receipt]) -> Vec<TaskResult> {
    let Some(last) = receipts.last() else { return Vec::new() };
    last.evaluation
        .iter()
        .map(|evaluated| TaskResult {
            task: evaluated.task.clone(),
            pseudonym: evaluated.pseudonym.clone(),
            base: receipts
                .iter()
                .flat_map(|r| &r.evaluation)
                .find_map(|e| (e.pseudonym == evaluated.pseudonym).then_some(e.base).flatten()),
            adapter: evaluated.adapter,
        })
        .collect()
}

impl fmt::Display for Passport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}@{}  issued {}", self.name, self.version, self.issued_at)?;
        for section in &self.sections {
            writeln!(f, "\n{}", section.title)?;
            for field in &section.fields {
                let mark = match &field.evidence {
                    Support::Proved { file } => format!("proved by {file}"),
                    Support::Declared { by } => format!("declared by {by}"),
                    Support::Missing => "missing".to_owned(),
                };
                writeln!(f, "  {:<30} {}  [{mark}]", field.name, field.value)?;
            }
        }
        writeln!(f, "\nHow well it does")?;
        for result in &self.results {
            let base = result
                .base
                .map_or("     -".to_owned(), |s| format!("{:>5.1} %", s.accuracy * 100.0));
            writeln!(
                f,
                "  {:<30} base {base}   adapter {:>5.1} %   {} examples",
                result.task,
                result.adapter.accuracy * 100.0,
                result.adapter.examples
            )?;
        }
        Ok(())
    }
}

/// Why a passport could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PassportError {
    /// Not a release.
    #[error("{} is not there; point at a folder that `chancery pull` made", path.display())]
    NotFound {
        /// The file.
        path: std::path::PathBuf,
    },
    /// Not a signed passport.
    #[error("passport.json: {0}")]
    Bundle(#[from] BundleError),
}
