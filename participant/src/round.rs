//! What a site keeps of one round, so that it can be killed at any point and say the same again.
//!
//! ```text
//! rounds/RUN.roster           the cohort this run began with
//! rounds/RUN.residual         what this site's updates have kept back so far, 0600 (error feedback)
//! rounds/RUN-ROUND/residual   what it will be after the round, 0600
//! rounds/RUN-ROUND/update     the encoded update before it is masked, 0600
//! rounds/RUN-ROUND/facts      losses and errors that go with it
//! rounds/RUN-ROUND/secret     the round's secret, 0600 (masked rounds)
//! rounds/RUN-ROUND/journal    what the site was shown and has answered; it alone outlives the round
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chancery_proto::secagg::{Journal, Member, RoundSecret, Setting};
use chancery_proto::{Encoded, Tensors};
use chancery_provenance::Digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::assignment::Assignment;
use crate::clock;
use crate::error::{Error, at};
use crate::home::{key_error, write};
use crate::trainer::Trained;

/// What goes with an update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) steps: u32,
    pub(crate) loss_first: f64,
    pub(crate) loss_last: f64,
    pub(crate) quantisation_error: f64,
    pub(crate) clipped_share: f64,
}

impl Facts {
    pub(crate) fn new(trained: &Trained, encoded: &Encoded) -> Self {
        Self {
            steps: trained.steps,
            loss_first: trained.loss_first,
            loss_last: trained.loss_last,
            quantisation_error: encoded.error,
            clipped_share: encoded.clipped,
        }
    }
}

/// What a run is called in this site's folders.
pub(crate) fn run_name(run: &str) -> String {
    Digest::of(run.as_bytes()).hex().chars().take(16).collect()
}

/// The place of one round.
#[derive(Debug)]
pub(crate) struct RoundStore {
    rounds: PathBuf,
    run: String,
    folder: PathBuf,
}

impl RoundStore {
    /// The place of the assignment's round. Names come from digests: a run's own name is foreign.
    pub(crate) fn open(home: &Path, assignment: &Assignment) -> Result<Self, Error> {
        let rounds = home.join("rounds");
        let run = run_name(&assignment.plan.run);
        let folder = rounds.join(format!("{run}-{}", assignment.plan.round));
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let store = Self { rounds, run, folder };
        store.keep_roster(&assignment.plan.roster, assignment.plan.round)?;
        store.close_earlier()?;
        Ok(store)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Refuses a cohort that is not the one the run began with.
    fn keep_roster(&self, roster: &[Member], round: u32) -> Result<(), Error> {
        let path = self.rounds.join(format!("{}.roster", self.run));
        let text = serde_json::to_vec(roster).map_err(key_error)?;
        match fs::read(&path) {
            Ok(before) if before == text => Ok(()),
            Ok(_) => {
                let why = "its roster is not the one this run began with".to_owned();
                Err(Error::Plan { round, why })
            }
            Err(_) => write(&path, &text, 0o644),
        }
    }

    /// Destroys what is left of this run's other rounds: nobody has a right to ask for it any more.
    fn close_earlier(&self) -> Result<(), Error> {
        let prefix = format!("{}-", self.run);
        for entry in fs::read_dir(&self.rounds).map_err(at(&self.rounds))? {
            let path = entry.map_err(at(&self.rounds))?.path();
            let of_run = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&prefix));
            if of_run && path != self.folder {
                self.destroy(&path)?;
            }
        }
        Ok(())
    }

    /// The finished update, if this round was trained before.
    pub(crate) fn trained(&self) -> Result<Option<(Bytes, Facts)>, Error> {
        let (Ok(bytes), Ok(facts)) = (fs::read(self.path("update")), fs::read(self.path("facts")))
        else {
            return Ok(None);
        };
        Ok(serde_json::from_slice(&facts).ok().map(|facts| (bytes.into(), facts)))
    }

    /// What this site's updates of earlier rounds have kept back; no tensors at first.
    pub(crate) fn residual(&self) -> Result<Tensors, Error> {
        match fs::read(self.rounds.join(format!("{}.residual", self.run))) {
            Ok(bytes) => Ok(Tensors::from_safetensors(&bytes)?),
            Err(_) => Ok(Tensors::new()),
        }
    }

    /// Keeps a finished update and what it kept back. Its facts come last: without them it is not
    /// finished.
    pub(crate) fn keep_trained(
        &self,
        bytes: &[u8],
        residual: &Tensors,
        facts: &Facts,
    ) -> Result<(), Error> {
        if !residual.is_empty() {
            write(&self.path("residual"), &residual.to_safetensors()?, 0o600)?;
        }
        write(&self.path("update"), bytes, 0o600)?;
        write(&self.path("facts"), &serde_json::to_vec(facts).map_err(key_error)?, 0o600)
    }

    /// The round's secret, drawn when it is first asked for. A round whose journal is there but whose
    /// secret is gone has been taken part in before.
    pub(crate) fn secret(&self) -> Result<RoundSecret, Error> {
        let path = self.path("secret");
        if let Ok(bytes) = fs::read(&path).map(Zeroizing::new) {
            let bytes = bytes.as_slice().try_into().map_err(key_error)?;
            return Ok(RoundSecret::from_bytes(bytes));
        }
        let bytes = Zeroizing::new(clock::random::<32>()?);
        write(&path, bytes.as_slice(), 0o600)?;
        Ok(RoundSecret::from_bytes(*bytes))
    }

    /// What the site was shown and has answered.
    pub(crate) fn journal(&self, setting: &Setting) -> Result<Journal, Error> {
        let path = self.path("journal");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| Error::Key(format!("{}: {e}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let journal = Journal::new(setting);
                self.keep_journal(&journal)?;
                Ok(journal)
            }
            Err(error) => Err(at(path)(error)),
        }
    }

    /// Keeps the journal; always before the answer that it speaks of leaves.
    pub(crate) fn keep_journal(&self, journal: &Journal) -> Result<(), Error> {
        let text = serde_json::to_vec(journal).map_err(key_error)?;
        write(&self.path("journal"), &text, 0o600)
    }

    /// The round is over for this site.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.destroy(&self.folder)
    }

    /// Closes a round's journal, if it has one, passes on what a finished update kept back, and removes
    /// everything else. The journal is closed first: a secret may be gone only when nothing can be asked
    /// of it any more.
    fn destroy(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("journal");
        if let Ok(text) = fs::read(&path)
            && let Ok(mut journal) = serde_json::from_slice::<Journal>(&text)
        {
            journal.close();
            write(&path, &serde_json::to_vec(&journal).map_err(key_error)?, 0o600)?;
        }
        let residual = folder.join("residual");
        if folder.join("facts").exists() && residual.exists() {
            let next = self.rounds.join(format!("{}.residual", self.run));
            fs::rename(&residual, &next).map_err(at(&next))?;
        }
        ["secret", "update", "facts", "residual"]
            .iter()
            .try_for_each(|name| remove(&folder.join(name)))
    }
}

/// Removes what is of no use after a run: what its updates kept back.
pub(crate) fn forget(home: &Path, run: &str) -> Result<(), Error> {
    remove(&home.join("rounds").join(format!("{}.residual", run_name(run))))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
