//! The step from one round's adapter to the next: a server optimiser over named tensors.

use super::error::RuleError;
use super::optimiser::State;
use crate::plan::Plan;
use crate::tensor::{Tensor, Tensors};

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

    /// Goes along `delta`, the aggregate of a round over the tensors that trained in it; what follows
    /// them is no part of the adapter.
    pub fn step(&mut self, plan: &Plan, delta: &[f32]) -> Result<(), RuleError> {
        let layout = plan.layout();
        let mut adapter = gather(&self.adapter, "", &layout);
        let delta = delta.get(..adapter.len()).unwrap_or(delta);
        let mut state = plan.optimiser.state(adapter.len());
        for (prefix, values) in [("m/", &mut state.m), ("v/", &mut state.v)] {
            let kept = gather(&self.moments, prefix, &layout);
            if kept.len() == values.len() {
                *values = kept;
            }
        }
        plan.optimiser.step(&mut state, &mut adapter, delta)?;
        scatter(&mut self.adapter, "", &layout, &adapter);
        let State { m, v } = state;
        for (prefix, values) in [("m/", m), ("v/", v)] {
            scatter(&mut self.moments, prefix, &layout, &values);
        }
        Ok(())
    }
}

impl ServerState {
    /// The adapter itself one whole `delta` further: the plain mean of the sites' adapters.
    pub fn mean(&self, plan: &Plan, delta: &[f32]) -> Tensors {
        let layout = plan.layout();
        let mut adapter = gather(&self.adapter, "", &layout);
        adapter.iter_mut().zip(delta).for_each(|(x, delta)| *x += delta);
        let mut mean = self.adapter.clone();
        scatter(&mut mean, "", &layout, &adapter);
        mean
    }
}

type Layout = [(String, [usize; 2])];

/// The values of the tensors in the layout, one after the other; those that are there.
fn gather(tensors: &Tensors, prefix: &str, layout: &Layout) -> Vec<f32> {
    let named = layout.iter().filter_map(|(name, _)| tensors.get(&format!("{prefix}{name}")));
    named.flat_map(|tensor| tensor.data().iter().copied()).collect()
}

/// The inverse of [`gather`]; tensors are made where there are none. No values change nothing.
fn scatter(tensors: &mut Tensors, prefix: &str, layout: &Layout, values: &[f32]) {
    let mut rest = values;
    for (name, shape) in layout {
        let Some((own, left)) = rest.split_at_checked(shape[0] * shape[1]) else { return };
        rest = left;
        if let Ok(tensor) = Tensor::new(shape.to_vec(), own.to_vec()) {
            tensors.insert(format!("{prefix}{name}"), tensor);
        }
    }
}
