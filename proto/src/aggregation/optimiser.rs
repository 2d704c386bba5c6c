//! Server optimisers: how far the model goes along the round's aggregate.
//!
//! Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2. The aggregate of the
//! updates stands in for a negative gradient, so that each step adds. There is no bias correction,
//! as in the paper.
//!
//! A state belongs to exactly the elements it was made for, in their order: the factors that train
//! in its rounds. A method that trains the factors in turn keeps one state for each set, and a
//! set's state rests in the rounds that do not train it. A round that failed makes no step.
//! Elements are expected to mean the same from step to step; after a change of basis, such as a new
//! factorisation, begin with a new state.

use serde::{Deserialize, Serialize};

use super::error::RuleError;

/// A server optimiser and its settings. `rate` is the paper's eta, the server's learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum ServerOptimiser {
    /// `x += rate * delta`; with rate 1, plain averaging (McMahan et al., AISTATS 2017).
    FedAvg {
        /// Server learning rate.
        rate: f64,
    },
    /// `m = momentum * m + delta; x += rate * m` (Hsu, Qi, Brown: "Measuring the Effects of
    /// Non-Identical Data Distribution", 2019).
    FedAvgM {
        /// Server learning rate.
        rate: f64,
        /// What stays of the last step, in [0, 1).
        momentum: f64,
    },
    /// Algorithm 2 with `v += delta^2`.
    FedAdagrad {
        /// Server learning rate.
        rate: f64,
        /// What stays of the first moment, in [0, 1); the paper's experiments use 0.
        beta1: f64,
        /// Adaptivity: the least root of the second moment.
        tau: f64,
    },
    /// Algorithm 2 with `v = beta2 * v + (1 - beta2) * delta^2`.
    FedAdam {
        /// Server learning rate.
        rate: f64,
        /// What stays of the first moment, in [0, 1).
        beta1: f64,
        /// What stays of the second moment, in [0, 1).
        beta2: f64,
        /// Adaptivity: the least root of the second moment.
        tau: f64,
    },
    /// Algorithm 2 with `v -= (1 - beta2) * delta^2 * sign(v - delta^2)`.
    FedYogi {
        /// Server learning rate.
        rate: f64,
        /// What stays of the first moment, in [0, 1).
        beta1: f64,
        /// What stays of the second moment, in [0, 1).
        beta2: f64,
        /// Adaptivity: the least root of the second moment.
        tau: f64,
    },
}

/// What an optimiser remembers from step to step; empty where it needs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The first moment, or the momentum; one value per element.
    pub m: Vec<f32>,
    /// The second moment; one value per element.
    pub v: Vec<f32>,
}

/// The settings that the adaptive ones share.
#[derive(Clone, Copy)]
struct Adaptive {
    rate: f32,
    beta1: f32,
    rest1: f32,
    tau: f32,
}

impl ServerOptimiser {
    /// A state before the first step. The second moment begins at `tau^2`, the least that the paper
    /// allows.
    pub fn state(&self, elements: usize) -> State {
        match *self {
            Self::FedAvg { .. } => State::default(),
            Self::FedAvgM { .. } => State { m: vec![0.0; elements], v: Vec::new() },
            Self::FedAdagrad { tau, .. }
            | Self::FedAdam { tau, .. }
            | Self::FedYogi { tau, .. } => {
                State { m: vec![0.0; elements], v: vec![(tau * tau) as f32; elements] }
            }
        }
    }

    /// Whether the settings make sense.
    pub fn check(&self) -> Result<(), RuleError> {
        let (rate, fractions, tau) = match *self {
            Self::FedAvg { rate } => (rate, [("momentum", 0.0), ("beta2", 0.0)], 1.0),
            Self::FedAvgM { rate, momentum } => {
                (rate, [("momentum", momentum), ("beta2", 0.0)], 1.0)
            }
            Self::FedAdagrad { rate, beta1, tau } => {
                (rate, [("beta1", beta1), ("beta2", 0.0)], tau)
            }
            Self::FedAdam { rate, beta1, beta2, tau }
            | Self::FedYogi { rate, beta1, beta2, tau } => {
                (rate, [("beta1", beta1), ("beta2", beta2)], tau)
            }
        };
        positive("rate", rate)?;
        positive("tau", tau)?;
        for (setting, value) in fractions {
            if !(0.0..1.0).contains(&value) {
                return Err(RuleError::Setting { setting, value, range: "[0, 1)" });
            }
        }
        Ok(())
    }

    /// One step of `adapter` along `delta`. What is refused changes nothing.
    pub fn step(
        &self,
        state: &mut State,
        adapter: &mut [f32],
        delta: &[f32],
    ) -> Result<(), RuleError> {
        self.check()?;
        self.check_vectors(state, adapter.len(), delta)?;
        match *self {
            Self::FedAvg { rate } => {
                let rate = rate as f32;
                for (x, d) in adapter.iter_mut().zip(delta) {
                    *x += rate * d;
                }
            }
            Self::FedAvgM { rate, momentum } => {
                let (rate, momentum) = (rate as f32, momentum as f32);
                for ((x, m), d) in adapter.iter_mut().zip(&mut state.m).zip(delta) {
                    *m = momentum * *m + d;
                    *x += rate * *m;
                }
            }
            Self::FedAdagrad { rate, beta1, tau } => {
                Adaptive::new(rate, beta1, tau).step(state, adapter, delta, |v, square| v + square);
            }
            Self::FedAdam { rate, beta1, beta2, tau } => {
                let (beta2, rest) = (beta2 as f32, (1.0 - beta2) as f32);
                let second = |v, square| beta2 * v + rest * square;
                Adaptive::new(rate, beta1, tau).step(state, adapter, delta, second);
            }
            Self::FedYogi { rate, beta1, beta2, tau } => {
                let rest = (1.0 - beta2) as f32;
                // Not `signum`, which gives zero a sign.
                let sign = |x: f32| f32::from(x > 0.0) - f32::from(x < 0.0);
                let second = |v, square| v - rest * square * sign(v - square);
                Adaptive::new(rate, beta1, tau).step(state, adapter, delta, second);
            }
        }
        Ok(())
    }

    fn check_vectors(
        &self,
        state: &State,
        expected: usize,
        delta: &[f32],
    ) -> Result<(), RuleError> {
        let needs_m = !matches!(self, Self::FedAvg { .. });
        let needs_v = needs_m && !matches!(self, Self::FedAvgM { .. });
        let lengths = [
            ("delta", delta.len(), expected),
            ("state's m", state.m.len(), if needs_m { expected } else { 0 }),
            ("state's v", state.v.len(), if needs_v { expected } else { 0 }),
        ];
        for (what, found, expected) in lengths {
            if found != expected {
                return Err(RuleError::Length { what, found, expected });
            }
        }
        match delta.iter().position(|d| !(d * d).is_finite()) {
            Some(element) => Err(RuleError::Delta { element }),
            None => Ok(()),
        }
    }
}

impl Adaptive {
    fn new(rate: f64, beta1: f64, tau: f64) -> Self {
        let rest1 = (1.0 - beta1) as f32;
        Self { rate: rate as f32, beta1: beta1 as f32, rest1, tau: tau as f32 }
    }

    /// One round of algorithm 2; `second` gives the new second moment.
    fn step(
        self,
        State { m, v }: &mut State,
        adapter: &mut [f32],
        delta: &[f32],
        second: impl Fn(f32, f32) -> f32,
    ) {
        for (((x, m), v), d) in adapter.iter_mut().zip(m).zip(v).zip(delta) {
            *m = self.beta1 * *m + self.rest1 * d;
            *v = second(*v, d * d);
            *x += self.rate * *m / (v.sqrt() + self.tau);
        }
    }
}

/// Also as an f32, in which the steps are made.
fn positive(setting: &'static str, value: f64) -> Result<(), RuleError> {
    let narrow = value as f32;
    if narrow.is_normal() && narrow > 0.0 {
        Ok(())
    } else {
        Err(RuleError::Setting { setting, value, range: "the positive f32" })
    }
}
