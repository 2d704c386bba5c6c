//! Verification of a release or of one bundle: offline, fail-closed, and no "verified" without a key
//! that the caller trusts.

use std::path::Path;

use serde_json::Value;

use crate::bundle::{BUNDLE_LIMIT, Bundle, BundleError};
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::lineage::Lineage;
use crate::model_signing::{MODEL_SIGNING_TYPE, compare};
use crate::passport::{PASSPORT_TYPE, Passport, PassportFacts};
use crate::predicate::{BUILD_TYPE, SLSA_TYPE};
use crate::release::claims;
use crate::release::{ADAPTER, ADAPTER_CONFIG};
use crate::run::RunEvidence;
use crate::statement::Statement;
use crate::verdict::{Check, Report, Verdict};

/// Whom the caller trusts.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Registries whose signature over a release counts.
    pub registry_keys: Vec<PublicKey>,
    /// Coordinators whose receipts count; when empty, the one that the signed provenance names.
    pub coordinator_keys: Vec<PublicKey>,
}

/// Checks a pulled release.
pub fn verify_release(dir: &Path, policy: &Policy) -> Report {
    let mut journal = Journal::default();
    let verdict = match release(dir, policy, &mut journal) {
        Ok(()) => Verdict::Verified,
        Err(verdict) => verdict,
    };
    journal.report(verdict)
}

/// Checks the signature of one bundle file.
pub fn verify_bundle(path: &Path, policy: &Policy) -> Report {
    let mut journal = Journal::default();
    let keys: Vec<&PublicKey> =
        policy.registry_keys.iter().chain(&policy.coordinator_keys).collect();
    let verdict = match single(path, &keys, &mut journal) {
        Ok(()) => Verdict::Verified,
        Err(verdict) => verdict,
    };
    journal.not_checked.push("the files that the statement is about".to_owned());
    journal.report(verdict)
}

#[derive(Default)]
struct Journal {
    checks: Vec<Check>,
    not_checked: Vec<String>,
    digest: Option<String>,
}

impl Journal {
    fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push(Check { name: name.to_owned(), ok: true, detail: detail.into() });
    }

    fn fail(&mut self, name: &str, detail: impl Into<String>, verdict: Verdict) -> Verdict {
        self.checks.push(Check { name: name.to_owned(), ok: false, detail: detail.into() });
        verdict
    }

    fn report(self, verdict: Verdict) -> Report {
        Report {
            verdict,
            words: verdict.words(),
            checks: self.checks,
            not_checked: self.not_checked,
            digest: self.digest,
        }
    }
}

fn single(path: &Path, keys: &[&PublicKey], journal: &mut Journal) -> Result<(), Verdict> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("bundle");
    let bytes = read(path, name, journal)?;
    let bundle = Bundle::parse(&bytes)
        .map_err(|e| journal.fail(name, e.to_string(), Verdict::BundleMalformed))?;
    let statement = signed(name, &bundle, keys, journal)?;
    journal.ok("statement", statement.predicate_type);
    Ok(())
}

/// Checks a signature under one of the trusted keys.
fn signed(
    name: &str,
    bundle: &Bundle,
    keys: &[&PublicKey],
    journal: &mut Journal,
) -> Result<Statement, Verdict> {
    if keys.is_empty() {
        let found = format!(
            "signed by the key with hint {}\n      fix:  get that registry's public key from somewhere you trust, then --registry-key registry.pub",
            bundle.hint()
        );
        return Err(journal.fail(name, found, Verdict::NoIdentity));
    }
    let Some(key) = keys.iter().find(|key| key.hint() == bundle.hint()) else {
        let detail = format!("expected one of the given keys, found hint {}", bundle.hint());
        return Err(journal.fail(name, detail, Verdict::KeyMismatch));
    };
    let statement = bundle.verify(key).map_err(|error| {
        let verdict = match error {
            BundleError::Signature => Verdict::SignatureInvalid,
            _ => Verdict::BundleMalformed,
        };
        journal.fail(name, error.to_string(), verdict)
    })?;
    journal.ok(name, format!("signed by {}", key.fingerprint()));
    Ok(statement)
}

fn read(path: &Path, name: &str, journal: &mut Journal) -> Result<Vec<u8>, Verdict> {
    let size = std::fs::metadata(path).map(|metadata| metadata.len());
    match size {
        Ok(size) if size <= 4 * BUNDLE_LIMIT as u64 => {}
        Ok(_) => return Err(journal.fail(name, "too large", Verdict::Unreadable)),
        Err(error) => {
            return Err(journal.fail(name, error.to_string(), Verdict::NotARelease));
        }
    }
    std::fs::read(path).map_err(|e| journal.fail(name, e.to_string(), Verdict::Unreadable))
}

fn release(dir: &Path, policy: &Policy, journal: &mut Journal) -> Result<(), Verdict> {
    let keys: Vec<&PublicKey> = policy.registry_keys.iter().collect();
    let file = |name: &str, journal: &mut Journal| read(&dir.join(name), name, journal);
    let parse = |name: &str, bytes: &[u8], journal: &mut Journal| {
        Bundle::parse(bytes)
            .map_err(|e| journal.fail(name, e.to_string(), Verdict::BundleMalformed))
    };

    let model = parse("model.sig", &file("model.sig", journal)?, journal)?;
    let signature = signed("model.sig", &model, &keys, journal)?;
    let root = files(dir, &signature, journal)?;

    let name = "provenance.sigstore.json";
    let slsa = parse(name, &file(name, journal)?, journal)?;
    let provenance = signed(name, &slsa, &keys, journal)?;
    let receipts = lines(&file("receipts.jsonl", journal)?, journal)?;
    let trainings = lines(&file("trainings.jsonl", journal)?, journal)?;
    let coordinator = coordinator_key(&provenance, policy, journal)?;
    let run = RunEvidence::verify(&coordinator, &receipts, &trainings)
        .map_err(|e| journal.fail("receipts", e.to_string(), Verdict::ReceiptInvalid))?;
    let adapter = digest_of(&dir.join(ADAPTER), ADAPTER, journal)?;
    if run.adapter() != Some(adapter) {
        let detail = format!("the last receipt names another adapter than {adapter}");
        return Err(journal.fail("receipts", detail, Verdict::ReceiptInvalid));
    }
    let sites = run.receipts.last().map_or(0, |(_, receipt)| receipt.roster.len());
    journal.ok(
        "receipts",
        format!(
            "{} rounds in one chain, {sites} institutions, {} training statements",
            run.receipts.len(),
            run.trainings.len()
        ),
    );

    let config = digest_of(&dir.join(ADAPTER_CONFIG), ADAPTER_CONFIG, journal)?;
    let car = file("lineage.car", journal)?;
    check_provenance(&provenance, adapter, config, &run, Digest::of(&car), journal)?;
    let lineage = check_lineage(&car, adapter, &run, journal)?;

    let name = "passport.json";
    let passport = parse(name, &file(name, journal)?, journal)?;
    let statement = signed(name, &passport, &keys, journal)?;
    check_passport(&statement, &provenance, &run, root, &lineage, &coordinator, journal)?;

    let name = "claims.jsonl";
    if file(name, journal)? != claims(&model, &slsa, &passport) {
        let detail = "it does not hold the three bundles of this release";
        return Err(journal.fail(name, detail, Verdict::FileChanged));
    }
    journal.ok(name, "the three bundles, once more");
    Ok(())
}

/// Compares the folder with its signature; each kind of file has its own verdict.
fn files(dir: &Path, signature: &Statement, journal: &mut Journal) -> Result<Digest, Verdict> {
    if signature.predicate_type != MODEL_SIGNING_TYPE {
        let found = signature.predicate_type.clone();
        return Err(journal.fail("files", found, Verdict::BundleMalformed));
    }
    let difference = match compare(dir, signature) {
        Ok(Some(difference)) => difference,
        Ok(None) => {
            let detail = "the signature's own digests do not agree";
            return Err(journal.fail("files", detail, Verdict::BundleMalformed));
        }
        Err(error) => return Err(journal.fail("files", error.to_string(), Verdict::Unreadable)),
    };
    if let Some((name, expected, actual)) = difference.changed.first() {
        let verdict = match name.as_str() {
            ADAPTER => Verdict::AdapterChanged,
            "receipts.jsonl" | "trainings.jsonl" => Verdict::ReceiptChanged,
            "lineage.car" => Verdict::LineageChanged,
            _ => Verdict::FileChanged,
        };
        let detail = format!("expected sha256:{expected}, actual sha256:{actual}");
        return Err(journal.fail(name, detail, verdict));
    }
    if let Some(name) = difference.missing.first() {
        return Err(journal.fail(name, "it is signed but not there", Verdict::FileMissing));
    }
    if let Some(name) = difference.added.first() {
        return Err(journal.fail(name, "it is there but not signed", Verdict::FileAdded));
    }
    let Some(subject) = signature.subject.first() else {
        return Err(journal.fail("files", "no subject", Verdict::BundleMalformed));
    };
    let root = subject.digest.sha256;
    journal.digest = Some(root.to_string());
    journal.ok("files", "every file is signed, and every signed file is there");
    Ok(root)
}

fn lines(bytes: &[u8], journal: &mut Journal) -> Result<Vec<Bundle>, Verdict> {
    Bundle::parse_lines(bytes)
        .map_err(|e| journal.fail("receipts", e.to_string(), Verdict::ReceiptInvalid))
}

fn digest_of(path: &Path, name: &str, journal: &mut Journal) -> Result<Digest, Verdict> {
    std::fs::File::open(path)
        .and_then(Digest::of_reader)
        .map(|(digest, _)| digest)
        .map_err(|e| journal.fail(name, e.to_string(), Verdict::Unreadable))
}

/// The key that the signed provenance names; it must be one of the policy's when there are some.
fn coordinator_key(
    provenance: &Statement,
    policy: &Policy,
    journal: &mut Journal,
) -> Result<PublicKey, Verdict> {
    let pem = provenance
        .predicate
        .pointer("/buildDefinition/internalParameters/coordinatorKey")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let key = PublicKey::from_pem(pem)
        .map_err(|e| journal.fail("coordinator", e.to_string(), Verdict::ProvenanceInvalid))?;
    if policy.coordinator_keys.is_empty() {
        journal.not_checked.push(
            "the coordinator: no --coordinator-key was given, so the one that the registry names is believed"
                .to_owned(),
        );
    } else if policy.coordinator_keys.contains(&key) {
        journal.ok("coordinator", key.fingerprint());
    } else {
        let detail = format!("expected one of the given keys, found {}", key.fingerprint());
        return Err(journal.fail("coordinator", detail, Verdict::KeyMismatch));
    }
    Ok(key)
}

fn check_provenance(
    provenance: &Statement,
    adapter: Digest,
    config: Digest,
    run: &RunEvidence,
    car: Digest,
    journal: &mut Journal,
) -> Result<(), Verdict> {
    let subjects: Vec<(&str, Digest)> =
        provenance.subject.iter().map(|s| (s.name.as_str(), s.digest.sha256)).collect();
    let predicate = &provenance.predicate;
    let digests = |pointer: &str| -> Vec<&str> {
        predicate
            .pointer(pointer)
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(|d| d.pointer("/digest/sha256")?.as_str()).collect())
            .unwrap_or_default()
    };
    let dependencies = digests("/buildDefinition/resolvedDependencies");
    let bundles = run.receipts.iter().map(|(b, _)| b).chain(run.trainings.iter().map(|(b, _)| b));
    let named =
        bundles.clone().all(|bundle| dependencies.contains(&bundle.digest().hex().as_str()));
    let base = run.receipts.first().map(|(_, receipt)| receipt.base_digest.hex());
    let recipe = predicate
        .pointer("/buildDefinition/externalParameters/recipe")
        .and_then(|recipe| serde_json::to_string(recipe).ok())
        .map(|json| Digest::of(json.as_bytes()));
    let holds = provenance.predicate_type == SLSA_TYPE
        && recipe == run.receipts.first().map(|(_, receipt)| receipt.recipe_digest)
        && predicate.pointer("/buildDefinition/buildType").and_then(Value::as_str)
            == Some(BUILD_TYPE)
        && subjects == [(ADAPTER, adapter), (ADAPTER_CONFIG, config)]
        && named
        && dependencies.len() == bundles.count() + 1
        && base.is_some_and(|base| dependencies.contains(&base.as_str()))
        && digests("/runDetails/byproducts").contains(&car.hex().as_str());
    if !holds {
        let detail = "it does not name exactly this adapter, these receipts and this lineage";
        return Err(journal.fail("provenance", detail, Verdict::ProvenanceInvalid));
    }
    journal.ok("provenance", format!("SLSA v1, {} dependencies", dependencies.len()));
    Ok(())
}

fn check_lineage(
    car: &[u8],
    adapter: Digest,
    run: &RunEvidence,
    journal: &mut Journal,
) -> Result<Lineage, Verdict> {
    let lineage = Lineage::from_car(car)
        .map_err(|e| journal.fail("lineage", e.to_string(), Verdict::LineageInvalid))?;
    let root = lineage.nodes().find(|(cid, _)| *cid == lineage.root()).map(|(_, node)| node);
    let of_this = root.is_some_and(|node| {
        node.kind == "release" && node.facts.get("adapter") == Some(&adapter.to_string())
    });
    let rounds: Vec<String> = lineage
        .nodes()
        .filter(|(_, node)| node.kind == "round")
        .filter_map(|(_, node)| node.facts.get("receipt").cloned())
        .collect();
    let receipts: Vec<String> =
        run.receipts.iter().map(|(bundle, _)| bundle.digest().to_string()).collect();
    if !of_this || rounds != receipts {
        let detail = "it is the lineage of another adapter or of other rounds";
        return Err(journal.fail("lineage", detail, Verdict::LineageInvalid));
    }
    journal.ok("lineage", format!("{} nodes under {}", lineage.nodes().len(), lineage.root()));
    Ok(lineage)
}

fn check_passport(
    statement: &Statement,
    provenance: &Statement,
    run: &RunEvidence,
    root: Digest,
    lineage: &Lineage,
    coordinator: &PublicKey,
    journal: &mut Journal,
) -> Result<(), Verdict> {
    let passport: Option<Passport> = statement.predicate_as(PASSPORT_TYPE);
    let recipe = provenance.predicate.pointer("/buildDefinition/externalParameters/recipe");
    let follows = match (&passport, recipe) {
        (Some(passport), Some(recipe)) => {
            let computed = Passport::of(&PassportFacts {
                name: &passport.name,
                version: passport.version,
                issued_at: &passport.issued_at,
                recipe,
                run,
                root,
                lineage: &lineage.root().to_string(),
                coordinator: &coordinator.fingerprint(),
            });
            let about = statement.subject.iter().all(|subject| subject.digest.sha256 == root);
            computed == *passport && about && !statement.subject.is_empty()
        }
        _ => false,
    };
    if !follows {
        let detail = "computed from the evidence, it says something else";
        return Err(journal.fail("passport", detail, Verdict::PassportInvalid));
    }
    journal.ok("passport", "every field follows from the evidence");
    Ok(())
}
