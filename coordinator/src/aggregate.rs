//! The sum: each update is read once, block by block, into one accumulator.

use std::fs::File;
use std::io::{self, BufReader};

use chancery_proto::aggregation::{PackedUpdates, Rule, Seen};
use chancery_proto::{Accumulator, Plan};
use chancery_provenance::Digest;

use crate::blob::Blobs;
use crate::error::{Error, Reject};

/// The sum of the updates. Memory is one integer an element and one block, whatever the number of
/// updates, and their order does not matter.
pub(crate) fn sum(blobs: &Blobs, plan: &Plan, updates: &[Digest]) -> Result<Accumulator, Error> {
    let mut sum = Accumulator::new(&plan.ring, plan.elements())?;
    for digest in updates {
        sum.add(BufReader::new(blobs.file(digest)?))?;
    }
    Ok(sum)
}

/// The updates, where single ones may be seen; `sites` are their places in the roster.
pub(crate) fn seen<'a>(
    blobs: &'a Blobs,
    plan: &'a Plan,
    sites: &'a [usize],
    updates: &'a [Digest],
) -> Seen<'a, impl Fn(usize) -> io::Result<BufReader<File>>> {
    let open = |index: usize| {
        let digest = updates.get(index).ok_or(io::ErrorKind::NotFound)?;
        Ok(BufReader::new(blobs.file(digest).map_err(io::Error::other)?))
    };
    Seen { plan, sites, open }
}

/// One delta out of the updates: the mean of their sum, or what a robust rule makes of them.
pub(crate) fn delta(
    blobs: &Blobs,
    plan: &Plan,
    updates: &[Digest],
    sum: Accumulator,
) -> Result<Vec<f32>, Error> {
    if plan.aggregation == Rule::Mean {
        return Ok(sum.finish()?.values);
    }
    let open = |index: usize| {
        let digest = updates.get(index).ok_or(io::ErrorKind::NotFound)?;
        Ok(BufReader::new(blobs.file(digest).map_err(io::Error::other)?))
    };
    let updates = PackedUpdates::new(plan.ring, plan.elements(), updates.len(), open);
    let outcome = updates.and_then(|updates| plan.aggregation.aggregate(&updates));
    Ok(outcome.map_err(Reject::from)?.values)
}
