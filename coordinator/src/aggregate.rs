//! The sum: each update is read once, block by block, into one accumulator.

use std::io::BufReader;

use chancery_proto::{Accumulator, Plan, Tensors};
use chancery_provenance::Digest;

use crate::blob::Blobs;
use crate::error::Error;

/// The new adapter: the old one plus the weighted mean of the updates (FedAvg). Memory is one model
/// and one block, whatever the number of updates, and their order does not matter.
pub(crate) fn aggregate(
    blobs: &Blobs,
    plan: &Plan,
    before: Tensors,
    updates: &[Digest],
) -> Result<Tensors, Error> {
    let layout = plan.layout();
    let elements = layout.iter().map(|(_, [rows, columns])| rows * columns).sum();
    let mut sum = Accumulator::new(&plan.ring, elements)?;
    for digest in updates {
        sum.add(BufReader::new(blobs.file(digest)?))?;
    }
    let mean = sum.finish()?;
    let mut after = before;
    let mut values = mean.values.iter();
    for (name, _) in &layout {
        if let Some(tensor) = after.get_mut(name) {
            for (x, delta) in tensor.data_mut().iter_mut().zip(values.by_ref()) {
                *x += delta;
            }
        }
    }
    Ok(after)
}
