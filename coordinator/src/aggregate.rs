//! What a round's updates make of the adapter. Each is read block by block, never whole.

use std::fs::File;
use std::io::{self, BufReader};

use chancery_proto::aggregation::{PackedUpdates, Rule, Seen, ServerState};
use chancery_proto::{Accumulator, CodecError, Downlink, Plan};
use chancery_provenance::Digest;

use crate::blob::Blobs;
use crate::error::Error;
use crate::round::{Discarded, Missed};

/// The updates that count, in the order of their sites' pseudonyms.
pub(crate) struct Updates<'a> {
    pub blobs: &'a Blobs,
    pub plan: &'a Plan,
    /// Places in the roster.
    pub sites: Vec<usize>,
    pub digests: Vec<Digest>,
}

/// What came of them.
pub(crate) struct Made {
    /// The new adapter, and what is remembered beside it.
    pub server: ServerState,
    /// What sites make the new adapter out of.
    pub change: Option<Vec<u8>>,
    /// What the new adapter misses.
    pub missed: Option<Missed>,
    /// Where it misses it, when it was cut.
    pub discarded: Vec<Discarded>,
}

impl Updates<'_> {
    /// The sum. Memory is one integer an element and one block, whatever the number of updates, and their
    /// order does not matter.
    pub(crate) fn sum(&self) -> Result<Accumulator, Error> {
        let mut sum = Accumulator::new(&self.plan.ring, self.plan.elements())?;
        for index in 0..self.digests.len() {
            sum.add(self.open(index).map_err(CodecError::Read)?)?;
        }
        Ok(sum)
    }

    /// The adapter one step further along the mean of the sum, or along what a robust rule makes of the
    /// updates.
    pub(crate) fn average(&self, mut server: ServerState, sum: Accumulator) -> Result<Made, Error> {
        let plan = self.plan;
        let packed = (plan.downlink() == Downlink::Sum).then(|| sum.to_packed());
        let delta = match plan.aggregation {
            Rule::Mean => sum.finish()?.values,
            rule => {
                let open = |index| self.open(index);
                let updates =
                    PackedUpdates::new(plan.ring, plan.elements(), self.digests.len(), open);
                let outcome = updates.and_then(|updates| rule.aggregate(&updates));
                outcome?.values
            }
        };
        let missed = match plan.sketch {
            Some(_) => estimated(plan, &server, &delta),
            None if plan.method.is_exact() || plan.aggregation != Rule::Mean => None,
            None => {
                let found = self.seen().deviation(&server)?;
                found.map(Missed::exactly)
            }
        };
        let change = server.step(plan, &delta)?;
        let change = packed.or(change.map(|change| change.as_bytes().to_vec()));
        Ok(Made { server, change, missed, discarded: Vec::new() })
    }

    /// The adapter that does what the sites' adapters do together, as well as its rank allows.
    pub(crate) fn stack(&self, mut server: ServerState) -> Result<Made, Error> {
        let stacked = self.seen().stack(&mut server)?;
        let discarded = stacked.discarded.into_iter();
        let discarded = discarded.map(|cut| Discarded { tensor: cut.tensor, share: cut.share });
        Ok(Made {
            server,
            change: Some(stacked.halves),
            missed: stacked.deviation.map(Missed::exactly),
            discarded: discarded.collect(),
        })
    }

    /// The updates, where single ones may be seen.
    fn seen(&self) -> Seen<'_, impl Fn(usize) -> io::Result<BufReader<File>>> {
        Seen { plan: self.plan, sites: &self.sites, open: |index| self.open(index) }
    }

    fn open(&self, index: usize) -> io::Result<BufReader<File>> {
        let digest = self.digests.get(index).ok_or(io::ErrorKind::NotFound)?;
        Ok(BufReader::new(self.blobs.file(digest).map_err(io::Error::other)?))
    }
}

/// What averaging the factors missed, as far as probes tell.
fn estimated(plan: &Plan, server: &ServerState, delta: &[f32]) -> Option<Missed> {
    let (found, largest) = plan.deviation(delta, &server.mean(plan, delta))?;
    let finite = |x: f64| if x.is_finite() { x } else { f64::MAX };
    Some(Missed { relative: found.relative, low: found.low, high: finite(found.high), largest })
}
