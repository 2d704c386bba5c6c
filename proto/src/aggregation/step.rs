//! The step from one round's adapter to the next: a server optimiser over named tensors.

use super::change::Change;
use super::error::RuleError;
use super::optimiser::State;
use crate::plan::{Downlink, Plan};
use crate::tensor::Tensors;

/// An adapter, and what is remembered beside it: tensors `m/NAME` and `v/NAME` of the server optimiser, and
/// `r/NAME`, what the last change kept back, of the shapes of NAME. Factors that have not trained yet have
/// none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerState {
    /// The adapter.
    pub adapter: Tensors,
    /// First and second moments, and residuals.
    pub moments: Tensors,
}

impl ServerState {
    /// Before the first round.
    pub fn new(adapter: Tensors) -> Self {
        Self { adapter, moments: Tensors::new() }
    }

    /// Goes along the aggregate of a round's updates. Where sites cannot do the same with the packed sum,
    /// the step is rounded to a change that they can download.
    pub fn step(&mut self, plan: &Plan, aggregate: &[f32]) -> Result<Option<Change>, RuleError> {
        let layout = plan.layout();
        let before = self.adapter.gather("", &layout);
        let mut adapter = before.clone();
        let delta = plan.expand(aggregate);
        let mut state = plan.optimiser.state(adapter.len());
        for (prefix, values) in [("m/", &mut state.m), ("v/", &mut state.v)] {
            let kept = self.moments.gather(prefix, &layout);
            if kept.len() == values.len() {
                *values = kept;
            }
        }
        plan.optimiser.step(&mut state, &mut adapter, &delta)?;
        let State { m, v } = state;
        for (prefix, values) in [("m/", m), ("v/", v)] {
            self.moments.scatter(prefix, &layout, &values);
        }
        if plan.downlink() == Downlink::Sum {
            self.adapter.scatter("", &layout, &adapter);
            return Ok(None);
        }
        let mut step = adapter;
        step.iter_mut().zip(&before).for_each(|(x, before)| *x -= before);
        let kept_back = self.moments.gather("r/", &layout);
        step.iter_mut().zip(kept_back).for_each(|(x, more)| *x += more);
        let change = Change::of(plan, &mut step);
        self.moments.scatter("r/", &layout, &step);
        change.apply(plan, &mut self.adapter);
        Ok(Some(change))
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
