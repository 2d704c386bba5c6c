//! What a run leaves behind, as a folder that an auditor can work with alone.

use std::fs;
use std::io;
use std::path::Path;

use chancery_provenance::{Bundle, Digest, PublicKey, RECEIPT_TYPE, Receipt};

use crate::blob::Blobs;
use crate::error::{Error, Reject};
use crate::store::{SqliteStore, Store as _};

/// What was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Rounds.
    pub rounds: usize,
    /// Updates.
    pub updates: usize,
    /// Bytes of updates and records.
    pub bytes: u64,
}

/// Collects a run of the coordinator in `dir` into the folder `out`. Nothing is changed, and the
/// coordinator may be running.
pub async fn export_run(dir: &Path, run: &str, out: &Path) -> Result<Exported, Error> {
    let store = SqliteStore::open(&dir.join("coordinator.db")).await?;
    let blobs = Blobs::open(dir)?;
    let stored = store.run(run).await?;
    let stored = stored.ok_or_else(|| Reject::NotFound { what: format!("run {run}") })?;
    let key_path = dir.join("keys").join("coordinator.pub");
    let key = PublicKey::load(&key_path)?;
    for folder in ["receipts", "trainings", "transcripts", "updates"] {
        let folder = out.join(folder);
        fs::create_dir_all(&folder).map_err(|source| Error::File { path: folder, source })?;
    }
    write(&out.join("coordinator.pub"), key.to_pem().as_bytes())?;
    write(&out.join("recipe.json"), stored.run.recipe.to_json().as_bytes())?;
    let mut found = Exported::default();
    let mut trainings = 0;
    for text in store.receipts(run).await? {
        found.rounds += 1;
        write(&out.join("receipts").join(format!("{:04}.json", found.rounds)), text.as_bytes())?;
        let receipt: Receipt = Bundle::parse(text.as_bytes())?
            .verify(&key)?
            .predicate_as(RECEIPT_TYPE)
            .ok_or_else(|| Error::State("a stored receipt is not one".to_owned()))?;
        for part in &receipt.participants {
            let digest = part.statement_digest.to_string();
            let statement = store.training(run, &digest).await?;
            let missing = || Error::State(format!("training statement {digest} is missing"));
            trainings += 1;
            let name = format!("{trainings:06}-{}.json", part.statement_digest.hex());
            write(&out.join("trainings").join(name), statement.ok_or_else(missing)?.as_bytes())?;
            found.bytes += copy(&blobs, &part.update_digest, &out.join("updates"))?;
            found.updates += 1;
        }
        if let Some(transcript) = &receipt.transcript {
            found.bytes += copy(&blobs, transcript, &out.join("transcripts"))?;
        }
    }
    Ok(found)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn copy(blobs: &Blobs, digest: &Digest, folder: &Path) -> Result<u64, Error> {
    let path = folder.join(digest.hex());
    let mut from = blobs.file(digest)?;
    let copied = fs::File::create(&path).and_then(|mut to| io::copy(&mut from, &mut to));
    copied.map_err(|source| Error::File { path, source })
}
