//! The sum: each update is read once, block by block, into one accumulator.

use std::io::BufReader;

use chancery_proto::{Accumulator, Plan};
use chancery_provenance::Digest;

use crate::blob::Blobs;
use crate::error::Error;

/// The sum of the updates. Memory is one integer an element and one block, whatever the number of
/// updates, and their order does not matter.
pub(crate) fn sum(blobs: &Blobs, plan: &Plan, updates: &[Digest]) -> Result<Accumulator, Error> {
    let mut sum = Accumulator::new(&plan.ring, plan.elements())?;
    for digest in updates {
        sum.add(BufReader::new(blobs.file(digest)?))?;
    }
    Ok(sum)
}
