//! The step from one round's adapter to the next: a server optimiser over named tensors.

use super::error::RuleError;
use super::optimiser::State;
use crate::plan::Plan;
use crate::tensor::Tensors;

/// An adapter, and what the server optimiser remembers beside it: tensors `m/NAME` and `v/NAME` of the
/// shapes of NAME. Factors that have not trained yet have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerState {
    /// The adapter.
    pub adapter: Tensors,
    /// First and second moments.
    pub moments: Tensors,
}

impl ServerState {
    /// Before the first round.
    pub fn new(adapter: Tensors) -> Self {
        Self { adapter, moments: Tensors::new() }
    }

    /// Goes along the aggregate of a round's updates.
    pub fn step(&mut self, plan: &Plan, aggregate: &[f32]) -> Result<(), RuleError> {
        let layout = plan.layout();
        let mut adapter = self.adapter.gather("", &layout);
        let delta = plan.expand(aggregate);
        let mut state = plan.optimiser.state(adapter.len());
        for (prefix, values) in [("m/", &mut state.m), ("v/", &mut state.v)] {
            let kept = self.moments.gather(prefix, &layout);
            if kept.len() == values.len() {
                *values = kept;
            }
        }
        plan.optimiser.step(&mut state, &mut adapter, &delta)?;
        self.adapter.scatter("", &layout, &adapter);
        let State { m, v } = state;
        for (prefix, values) in [("m/", m), ("v/", v)] {
            self.moments.scatter(prefix, &layout, &values);
        }
        Ok(())
    }

    /// The adapter itself one whole `mean` further: the plain mean of the sites' adapters.
    pub fn mean(&self, plan: &Plan, mean: &[f32]) -> Tensors {
        let layout = plan.layout();
        let mut adapter = self.adapter.gather("", &layout);
        let delta = plan.expand(mean);
        adapter.iter_mut().zip(delta.iter()).for_each(|(x, delta)| *x += delta);
        let mut mean = self.adapter.clone();
        mean.scatter("", &layout, &adapter);
        mean
    }
}
