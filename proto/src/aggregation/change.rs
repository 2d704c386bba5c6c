//! How an adapter changed, in a byte a number: what sites that hold the last one download when they cannot
//! make the next one out of the packed sum.
//!
//! Each tensor has its own scale, its largest change over 127. What rounding keeps back goes into the next
//! change, so that errors do not add up (error feedback, as in `Plan::update`).

use super::error::RuleError;
use crate::plan::Plan;
use crate::tensor::Tensors;

/// Bytes of a tensor's scale.
const SCALE: usize = 4;

/// The largest level of a change.
const TOP: f32 = 127.0;

/// The changes of the tensors that trained in a round, one after the other: a scale (f32, little-endian),
/// then a signed byte a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(Vec<u8>);

impl Change {
    /// Rounds `step`, and leaves in it what rounding kept back.
    pub(crate) fn of(plan: &Plan, step: &mut [f32]) -> Self {
        let mut bytes = Vec::with_capacity(Self::size(plan));
        let mut rest = step;
        for (_, [rows, columns]) in plan.layout() {
            let (own, left) = rest.split_at_mut((rows * columns).min(rest.len()));
            rest = left;
            let largest = own.iter().fold(0f32, |most, x| most.max(x.abs()));
            let scale = largest / TOP;
            bytes.extend(scale.to_le_bytes());
            for x in own {
                let level = if scale > 0.0 { (*x / scale).round().clamp(-TOP, TOP) } else { 0.0 };
                bytes.push((level as i8).to_le_bytes()[0]);
                *x -= level * scale;
            }
        }
        Self(bytes)
    }

    /// Foreign bytes of the right length.
    pub fn parse(plan: &Plan, bytes: &[u8]) -> Result<Self, RuleError> {
        match bytes.len() == Self::size(plan) {
            true => Ok(Self(bytes.to_vec())),
            false => Err(RuleError::Length {
                what: "change",
                found: bytes.len(),
                expected: Self::size(plan),
            }),
        }
    }

    /// Bytes of a change of this plan.
    pub fn size(plan: &Plan) -> usize {
        plan.layout().iter().map(|(_, [rows, columns])| SCALE + rows * columns).sum()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The adapter after the change.
    pub fn apply(&self, plan: &Plan, adapter: &mut Tensors) {
        let layout = plan.layout();
        let mut values = adapter.gather("", &layout);
        let (mut numbers, mut bytes) = (values.iter_mut(), self.0.as_slice());
        for (_, [rows, columns]) in &layout {
            let Some((scale, rest)) = bytes.split_first_chunk::<SCALE>() else { break };
            let (own, rest) = rest.split_at(rest.len().min(rows * columns));
            let scale = f32::from_le_bytes(*scale);
            for (byte, x) in own.iter().zip(numbers.by_ref()) {
                *x += f32::from(i8::from_le_bytes([*byte])) * scale;
            }
            bytes = rest;
        }
        adapter.scatter("", &layout, &values);
    }
}

#[cfg(test)]
mod tests {
    use super::super::optimiser::ServerOptimiser;
    use super::super::step::ServerState;
    use super::*;
    use crate::plan::tests::plan;

    #[test]
    fn errors_do_not_add_up() {
        let mut plan = plan();
        plan.optimiser = ServerOptimiser::FedAvgM { rate: 1.0, momentum: 0.0 };
        let start = plan.adapter.initial(&plan.base_shape, 1).unwrap();
        let mut server = ServerState::new(start.clone());
        let mut site = start;
        let mut sum = vec![0f64; plan.elements()];
        let mut largest = 0f32;
        for round in 0..50 {
            let delta: Vec<f32> =
                (0..plan.elements()).map(|i| ((i * 7 + round * 3) as f32).sin() * 0.1).collect();
            largest = delta.iter().fold(largest, |most, x| most.max(x.abs()));
            sum.iter_mut().zip(&delta).for_each(|(sum, x)| *sum += f64::from(*x));
            let change = server.step(&plan, &delta).unwrap().unwrap();
            let change = Change::parse(&plan, change.as_bytes()).unwrap();
            change.apply(&plan, &mut site);
            assert_eq!(site, server.adapter);
        }
        let layout = plan.layout();
        for (found, wanted) in server.adapter.gather("", &layout).iter().zip(&sum) {
            assert!(
                (f64::from(*found) - wanted).abs() < 2.0 * f64::from(largest / TOP),
                "{found} {wanted}"
            );
        }
    }

    #[test]
    fn foreign_changes_do_no_more_than_change_numbers() {
        let plan = plan();
        assert_eq!(Change::parse(&plan, &[0; 3]).unwrap_err().code(), "CH3309");
        let mut adapter = plan.adapter.initial(&plan.base_shape, 1).unwrap();
        Change::parse(&plan, &vec![0xff; Change::size(&plan)]).unwrap().apply(&plan, &mut adapter);
        let before = plan.adapter.initial(&plan.base_shape, 1).unwrap();
        before.same_layout(&adapter).unwrap();
    }
}
