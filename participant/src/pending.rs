//! An update that is finished but not yet acknowledged: stored before it is sent, so that a site
//! which is killed in between sends the same bytes again instead of training again.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chancery_proto::wire::Update;
use chancery_provenance::Digest;
use prost::Message as _;

use crate::assignment::Assignment;
use crate::error::{Error, at};
use crate::home::write;

/// The place of one round's finished update.
#[derive(Debug)]
pub(crate) struct Pending {
    folder: PathBuf,
    plan: Digest,
}

impl Pending {
    pub(crate) fn of(home: &Path, assignment: &Assignment) -> Self {
        Self { folder: home.join("pending"), plan: assignment.plan_digest }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.plan.hex()))
    }

    /// The stored update for this very plan, under its new lease.
    pub(crate) fn load(&self, lease: &str) -> Result<Option<(Bytes, Update)>, Error> {
        let (Ok(bytes), Ok(message)) =
            (fs::read(self.path("update")), fs::read(self.path("message")))
        else {
            return Ok(None);
        };
        let Ok(mut update) = Update::decode(message.as_slice()) else {
            return Ok(None);
        };
        if Digest::of(&bytes).to_string() != update.update_digest {
            return Ok(None);
        }
        lease.clone_into(&mut update.lease);
        Ok(Some((bytes.into(), update)))
    }

    /// Stores the update; older ones can no longer be wanted and go.
    pub(crate) fn save(&self, bytes: &Bytes, update: &Update) -> Result<(), Error> {
        self.clear()?;
        fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
        write(&self.path("update"), bytes, 0o600)?;
        write(&self.path("message"), &update.encode_to_vec(), 0o600)
    }

    /// Forgets what was stored.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(at(&self.folder)(error))
            }
            _ => Ok(()),
        }
    }
}
