//! Computing a run's sums again.

use std::fs::{self, File};
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chancery_proto::aggregation::ServerState;
use chancery_proto::secagg::{ChunkRoot, Transcript};
use chancery_proto::{Plan, Recipe, Summand, replay};
use chancery_provenance::{
    AUDIT_TYPE, Algorithm, Audit, AuditedRound, Bundle, Digest, PublicKey, Receipt, RunEvidence,
    SigningKey, Statement, Subject,
};

use super::Replay;

impl Replay {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        #[cfg(feature = "coordinator")]
        let (folder, _kept) = match &self.dir {
            Some(dir) => {
                let kept = tempfile::tempdir()?;
                let (run, out) = (self.run.display().to_string(), kept.path().join("audit"));
                crate::cli::runtime::block_on(async {
                    Ok(chancery_coordinator::export_run(dir, &run, &out).await?)
                })?;
                (out, Some(kept))
            }
            None => (self.run.clone(), None),
        };
        #[cfg(not(feature = "coordinator"))]
        let folder = self.run.clone();
        let folder = AuditFolder(folder);
        let path = self.coordinator_key.clone().unwrap_or(folder.0.join("coordinator.pub"));
        let key = PublicKey::load(&path).with_context(|| path.display().to_string())?;
        let evidence =
            RunEvidence::verify(&key, &folder.bundles("receipts")?, &folder.bundles("trainings")?)?;
        let audit = folder.replay(&evidence)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&audit)?);
        } else {
            self.print(&key, &evidence, &audit);
        }
        if let (Some(path), Some(out)) = (&self.key, &self.out) {
            let signer = SigningKey::load_or_create(path, Algorithm::Ed25519)?;
            let adapter = evidence.adapter().context("the run has no rounds")?;
            let subject = Subject::new("adapter", adapter);
            let bundle = Bundle::sign(&Statement::new(vec![subject], AUDIT_TYPE, &audit), &signer)?;
            fs::write(out, bundle.to_json()).with_context(|| out.display().to_string())?;
            if !self.json {
                println!("signed       {}  {}", out.display(), signer.public().fingerprint());
            }
        }
        Ok(if audit.reproduced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, key: &PublicKey, evidence: &RunEvidence, audit: &Audit) {
        println!("run          {}", audit.run);
        let given =
            if self.coordinator_key.is_some() { "" } else { "  (the folder's own, not checked)" };
        println!("coordinator  {}{given}", key.fingerprint());
        println!(
            "evidence     {} receipts, {} training statements, all signed and linked",
            evidence.receipts.len(),
            evidence.trainings.len()
        );
        for round in &audit.rounds {
            let (number, mode, updates) = (round.round, &round.mode, round.updates);
            let what = match (&round.computed, &round.code) {
                (Some(digest), None) => format!("ok    {digest}"),
                (Some(digest), Some(code)) => {
                    format!("FAIL  {code}: {digest} came out, the receipt names {}", round.expected)
                }
                (None, code) => format!("FAIL  {}", code.as_deref().unwrap_or_default()),
            };
            println!("round {number:>3}    {mode}  {updates} updates  {what}");
        }
        println!(
            "{}",
            if audit.reproduced {
                "reproduced   every sum came out bit for bit"
            } else {
                "NOT REPRODUCED"
            }
        );
    }
}

/// The code of a sum that has another digest than its receipt names.
const DIFFERS: &str = "CH6101";

struct AuditFolder(PathBuf);

impl AuditFolder {
    /// The bundles in a folder, by file name.
    fn bundles(&self, name: &str) -> anyhow::Result<Vec<Bundle>> {
        let folder = self.0.join(name);
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut paths =
            entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
        paths.sort();
        paths
            .iter()
            .map(|path| {
                let bytes = fs::read(path).with_context(|| path.display().to_string())?;
                Bundle::parse(&bytes).with_context(|| path.display().to_string())
            })
            .collect()
    }

    fn blob(&self, kind: &str, digest: &Digest) -> PathBuf {
        self.0.join(kind).join(digest.hex())
    }

    /// Every round from the seeded start on; the first that differs ends it.
    fn replay(&self, evidence: &RunEvidence) -> anyhow::Result<Audit> {
        let path = self.0.join("recipe.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let recipe = Recipe::from_json(&text)?;
        let mut audit = Audit {
            run: String::new(),
            tool: format!("chancery {}", env!("CARGO_PKG_VERSION")),
            reproduced: true,
            rounds: Vec::new(),
        };
        let mut server: Option<ServerState> = None;
        for (bundle, receipt) in &evidence.receipts {
            if Digest::of(text.as_bytes()) != receipt.recipe_digest {
                bail!("{} is not the recipe that the receipts name", path.display());
            }
            audit.run.clone_from(&receipt.run);
            let plan = Plan::from_json(receipt.plan.as_bytes())
                .with_context(|| format!("the plan of round {}", receipt.round))?;
            if let Some(field) = plan.departs_from(&recipe) {
                bail!(
                    "CH6106: the {field} in the plan of round {} is not what the recipe gives",
                    receipt.round
                );
            }
            plan.base_shape.check()?;
            let before = match server.take() {
                Some(server) => server,
                None => {
                    ServerState::new(plan.adapter.initial(&plan.base_shape, recipe.training.seed)?)
                }
            };
            let computed = self.round(&plan, receipt, before);
            let mut round = AuditedRound {
                round: receipt.round,
                receipt: bundle.digest(),
                mode: receipt.mode.clone(),
                updates: receipt.participants.len() as u32,
                expected: receipt.adapter_after,
                computed: None,
                code: None,
            };
            match computed {
                Ok((digest, after)) => {
                    round.computed = Some(digest);
                    server = Some(after);
                    if digest != receipt.adapter_after {
                        round.code = Some(DIFFERS.to_owned());
                    }
                }
                Err(error) => round.code = Some(format!("{error:#}")),
            }
            let failed = round.code.is_some();
            audit.rounds.push(round);
            if failed {
                audit.reproduced = false;
                break;
            }
        }
        Ok(audit)
    }

    fn round(
        &self,
        plan: &Plan,
        receipt: &Receipt,
        mut server: ServerState,
    ) -> anyhow::Result<(Digest, ServerState)> {
        if Digest::of(&server.adapter.to_safetensors()?) != receipt.adapter_before {
            bail!("CH6102: the round does not start from the adapter before it");
        }
        if plan.adapter_digest != receipt.adapter_before.to_string() {
            bail!("CH6103: the plan and the receipt start from different adapters");
        }
        let transcript = match &receipt.transcript {
            Some(digest) => Some(self.transcript(digest)?),
            None => None,
        };
        let summands = receipt
            .participants
            .iter()
            .map(|part| {
                let mut root = [0; 32];
                hex::decode_to_slice(&part.chunk_root, &mut root)?;
                Ok(Summand { pseudonym: part.pseudonym.clone(), root: ChunkRoot(root) })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let open = |index: usize| {
            let part = receipt.participants.get(index).ok_or(std::io::ErrorKind::NotFound)?;
            Ok(BufReader::new(File::open(self.blob("updates", &part.update_digest))?))
        };
        let digest = *receipt.plan_digest.as_bytes();
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        replay(plan, digest, &mut server, transcript.as_ref(), &summands, open, threads)
            .map_err(|error| anyhow::anyhow!("{}: {error}", error.code()))?;
        Ok((Digest::of(&server.adapter.to_safetensors()?), server))
    }

    fn transcript(&self, digest: &Digest) -> anyhow::Result<Transcript> {
        let path: &Path = &self.blob("transcripts", digest);
        let bytes = fs::read(path).with_context(|| format!("CH6104: {}", path.display()))?;
        if Digest::of(&bytes) != *digest {
            bail!("CH6105: {} is not the record that the receipt names", path.display());
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}
