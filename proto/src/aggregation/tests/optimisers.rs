//! Each optimiser against the paper's lines, one element at a time in f64.

use super::*;

const RATE: f64 = 0.1;
const STEPS: usize = 12;

fn all() -> [ServerOptimiser; 5] {
    let (rate, beta1, beta2, tau) = (RATE, 0.9, 0.95, 1e-3);
    [
        ServerOptimiser::FedAvg { rate },
        ServerOptimiser::FedAvgM { rate, momentum: 0.8 },
        ServerOptimiser::FedAdagrad { rate, beta1: 0.3, tau },
        ServerOptimiser::FedAdam { rate, beta1, beta2, tau },
        ServerOptimiser::FedYogi { rate, beta1, beta2, tau },
    ]
}

/// The element's values after each step.
fn by_hand(optimiser: &ServerOptimiser, deltas: &[f64], mut x: f64) -> Vec<f64> {
    let (mut m, mut v) = (0.0f64, 1e-6f64);
    let mut values = Vec::new();
    for d in deltas {
        match optimiser {
            ServerOptimiser::FedAvg { .. } => x += 0.1 * d,
            ServerOptimiser::FedAvgM { .. } => {
                m = 0.8 * m + d;
                x += 0.1 * m;
            }
            ServerOptimiser::FedAdagrad { .. } => {
                m = 0.3 * m + 0.7 * d;
                v += d * d;
                x += 0.1 * m / (v.sqrt() + 1e-3);
            }
            ServerOptimiser::FedAdam { .. } => {
                m = 0.9 * m + 0.1 * d;
                v = 0.95 * v + 0.05 * d * d;
                x += 0.1 * m / (v.sqrt() + 1e-3);
            }
            ServerOptimiser::FedYogi { .. } => {
                m = 0.9 * m + 0.1 * d;
                let gap = v - d * d;
                let sign = if gap > 0.0 {
                    1.0
                } else if gap < 0.0 {
                    -1.0
                } else {
                    0.0
                };
                v -= 0.05 * d * d * sign;
                x += 0.1 * m / (v.sqrt() + 1e-3);
            }
        }
        values.push(x);
    }
    values
}

#[test]
fn steps_are_those_of_the_paper() {
    let elements = 37;
    let deltas = normal(STEPS, elements, 0.0, 0.01, 3);
    let start = normal(1, elements, 0.0, 1.0, 4).remove(0);
    for optimiser in all() {
        let (mut state, mut adapter) = (optimiser.state(elements), start.clone());
        let mut after = Vec::new();
        for delta in &deltas {
            optimiser.step(&mut state, &mut adapter, delta).unwrap();
            after.push(adapter.clone());
        }
        for element in 0..elements {
            let column: Vec<f64> = deltas.iter().map(|d| f64::from(d[element])).collect();
            let expected = by_hand(&optimiser, &column, f64::from(start[element]));
            for (step, (found, expected)) in after.iter().zip(expected).enumerate() {
                let gap = (f64::from(found[element]) - expected).abs();
                assert!(gap < 2e-6, "{optimiser:?}, step {step}: {gap}");
            }
        }
    }
}

/// A delta whose square equals the second moment leaves that as it is.
#[test]
fn yogi_rests_where_the_moment_is_right() {
    let yogi = ServerOptimiser::FedYogi { rate: 1.0, beta1: 0.0, beta2: 0.5, tau: 0.25 };
    let mut state = yogi.state(3);
    assert_eq!(state.v, [0.0625; 3]);
    yogi.step(&mut state, &mut [0.0; 3], &[0.25, -0.25, 0.5]).unwrap();
    assert_eq!(state.v, [0.0625, 0.0625, 0.0625 + 0.5 * 0.25]);
    yogi.step(&mut state, &mut [0.0; 3], &[0.0, 0.125, 0.25]).unwrap();
    assert_eq!(state.v, [0.0625, 0.0625 - 0.5 * 0.015625, 0.1875 - 0.5 * 0.0625]);
}

#[test]
fn plain_averaging_adds_the_delta() {
    let mut adapter = [1.0, 2.0];
    let plain = ServerOptimiser::FedAvg { rate: 1.0 };
    plain.step(&mut State::default(), &mut adapter, &[0.5, -0.25]).unwrap();
    assert_eq!(adapter, [1.5, 1.75]);
}

#[test]
fn what_does_not_belong_together_is_refused_and_changes_nothing() {
    for optimiser in all() {
        let mut state = optimiser.state(2);
        let before = state.clone();
        let mut adapter = [1.0, 2.0];
        let mut step = |delta: &[f32]| code(optimiser.step(&mut state, &mut adapter, delta));
        assert_eq!(step(&[0.1]), "CH3309");
        assert_eq!(step(&[0.1; 3]), "CH3309");
        assert_eq!(step(&[0.1, f32::NAN]), "CH3310");
        assert_eq!(step(&[f32::INFINITY, 0.1]), "CH3310");
        assert_eq!(step(&[1e30, 0.1]), "CH3310", "its square is infinite");
        assert_eq!((adapter, &state), ([1.0, 2.0], &before));
        for (more_m, more_v) in [(1, 0), (0, 1)] {
            let mut longer = before.clone();
            longer.m.resize(before.m.len() + more_m, 0.0);
            longer.v.resize(before.v.len() + more_v, 0.0);
            assert_eq!(code(optimiser.step(&mut longer, &mut adapter, &[0.1; 2])), "CH3309");
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let adam = |rate, beta1, beta2, tau| ServerOptimiser::FedAdam { rate, beta1, beta2, tau };
    assert!(adam(0.1, 0.0, 0.0, 1e-3).check().is_ok());
    for wrong in [
        adam(0.0, 0.9, 0.9, 0.1),
        adam(-0.1, 0.9, 0.9, 0.1),
        adam(f64::NAN, 0.9, 0.9, 0.1),
        adam(1e300, 0.9, 0.9, 0.1),
        adam(0.1, 1.0, 0.9, 0.1),
        adam(0.1, 0.9, -0.1, 0.1),
        adam(0.1, 0.9, f64::NAN, 0.1),
        adam(0.1, 0.9, 0.9, 0.0),
        adam(0.1, 0.9, 0.9, 1e-300),
        ServerOptimiser::FedAvgM { rate: 0.1, momentum: 1.0 },
        ServerOptimiser::FedAdagrad { rate: 0.1, beta1: 2.0, tau: 0.1 },
        ServerOptimiser::FedYogi { rate: 0.1, beta1: 0.9, beta2: 1.0, tau: 0.1 },
    ] {
        assert_eq!(code(wrong.check()), "CH3308", "{wrong:?}");
        let refused = wrong.step(&mut wrong.state(1), &mut [0.0], &[0.0]);
        assert_eq!(code(refused), "CH3308");
    }
}
