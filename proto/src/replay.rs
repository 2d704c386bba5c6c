//! A round's sum, computed again from what it left behind: the same bits, or the receipt is wrong.

use std::io::{self, Read};
use std::num::NonZeroUsize;

use thiserror::Error;

use crate::aggregation::{PackedUpdates, Rule, RuleError, Seen, ServerState};
use crate::codec::{Accumulator, CodecError};
use crate::plan::Plan;
use crate::recipe::{Method, PrivacyMode};
use crate::secagg::{ChunkRoot, Chunks, SecaggError, Transcript};

/// An update that the receipt says is in the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summand {
    /// The site's name in the run.
    pub pseudonym: String,
    /// The root over its chunks.
    pub root: ChunkRoot,
}

/// Takes `server` through a round whose updates `open` hands out in the order of `summands`. In masked
/// rounds the masks are taken off as `transcript` says. Memory is one model and one block of each
/// update. `digest` is SHA-256 of the plan's bytes.
pub fn replay<R: Read>(
    plan: &Plan,
    digest: [u8; 32],
    server: &mut ServerState,
    transcript: Option<&Transcript>,
    summands: &[Summand],
    open: impl Fn(usize) -> io::Result<R>,
    threads: NonZeroUsize,
) -> Result<(), ReplayError> {
    let masks = match (plan.mode, transcript) {
        (PrivacyMode::Trusted, None) => Vec::new(),
        (PrivacyMode::Masked, Some(transcript)) => {
            let (survivors, masks) = transcript.open(plan.setting(digest))?;
            let signed = survivors.updates().iter().map(|survivor| {
                let member = plan.roster.get(survivor.site);
                (member.map(|member| member.pseudonym.as_str()), survivor.update)
            });
            let named = summands.iter().map(|s| (Some(s.pseudonym.as_str()), s.root));
            if !signed.eq(named) {
                return Err(ReplayError::Survivors);
            }
            masks
        }
        _ => return Err(ReplayError::Transcript),
    };
    if plan.method == Method::Stack {
        return restack(plan, server, summands, open);
    }
    let mut sum = Accumulator::new(&plan.ring, plan.elements())?;
    for (index, summand) in summands.iter().enumerate() {
        summand.read(index, &open, |reader| Ok(sum.add(reader)?))?;
    }
    sum.unmask(&masks, threads);
    let mut delta = sum.finish()?.values;
    if plan.aggregation != Rule::Mean {
        // The bytes have just been found to be the signed ones.
        let updates = PackedUpdates::new(plan.ring, plan.elements(), summands.len(), open)?;
        delta = plan.aggregation.aggregate(&updates)?.values;
    }
    server.step(plan, &delta)?;
    Ok(())
}

/// The same for a round whose factors were stacked.
fn restack<R: Read>(
    plan: &Plan,
    server: &mut ServerState,
    summands: &[Summand],
    open: impl Fn(usize) -> io::Result<R>,
) -> Result<(), ReplayError> {
    let mut sites = Vec::with_capacity(summands.len());
    for (index, summand) in summands.iter().enumerate() {
        let place = plan.roster.iter().position(|member| member.pseudonym == summand.pseudonym);
        let site = place.ok_or(ReplayError::Survivors)?;
        let elements = plan.elements_of(site);
        summand.read(index, &open, |reader| Ok(plan.ring.check(reader, elements)?))?;
        sites.push(site);
    }
    Seen { plan, sites: &sites, open }.stack(server)?;
    Ok(())
}

impl Summand {
    /// Lets `step` read the update to its end, and checks that it is the one that was signed.
    fn read<R: Read>(
        &self,
        index: usize,
        open: &impl Fn(usize) -> io::Result<R>,
        step: impl FnOnce(&mut Hashing<R>) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        let pseudonym = || self.pseudonym.clone();
        let reader = open(index)
            .map_err(|source| ReplayError::Missing { pseudonym: pseudonym(), source })?;
        let mut reader = Hashing { reader, chunks: Chunks::default() };
        step(&mut reader)?;
        match reader.chunks.finish() == self.root {
            true => Ok(()),
            false => Err(ReplayError::Changed { pseudonym: pseudonym() }),
        }
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    reader: R,
    chunks: Chunks,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.chunks.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Why a round could not be computed again.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A masked round without its record, or a trusted one with one.
    #[error("the round's record does not go with its privacy mode")]
    Transcript,
    /// The record speaks of other updates than the receipt.
    #[error("the survivors in the record are not those in the receipt")]
    Survivors,
    /// A signature or a seed in the record does not hold.
    #[error(transparent)]
    Secagg(#[from] SecaggError),
    /// An update that is not there.
    #[error("the update of {pseudonym} is missing: {source}")]
    Missing {
        /// The site.
        pseudonym: String,
        /// Why.
        source: io::Error,
    },
    /// An update that is not the one that was signed.
    #[error("the update of {pseudonym} is not the one whose chunks were signed")]
    Changed {
        /// The site.
        pseudonym: String,
    },
    /// A rule or an optimiser that refuses them.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Updates that do not add up.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl ReplayError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transcript => "CH1601",
            Self::Survivors => "CH1602",
            Self::Secagg(error) => error.code(),
            Self::Missing { .. } => "CH1603",
            Self::Changed { .. } => "CH1604",
            Self::Rule(error) => error.code(),
            Self::Codec(error) => error.code(),
        }
    }
}
