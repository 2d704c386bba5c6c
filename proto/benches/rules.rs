//! Rules over 16 updates of 8.4 M elements, beside a copy of the same bytes.

use std::hint::black_box;

use chancery_proto::aggregation::{Gram, Memory, Rule, ServerOptimiser};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// LoRA r=16 on the query and value projections of a 7B model.
const ELEMENTS: usize = 8_388_608;
const UPDATES: usize = 16;

/// Cheap noise in [-0.5, 0.5), different in each place.
fn noise(index: usize) -> f32 {
    let word = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ word >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (word >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

fn rules(criterion: &mut Criterion) {
    let rows: Vec<Vec<f32>> = (0..UPDATES)
        .map(|row| (row * ELEMENTS..(row + 1) * ELEMENTS).map(noise).collect())
        .collect();
    let updates = Memory::new(&rows);
    let mut group = criterion.benchmark_group("16 updates of 8.4 M elements");
    group.sample_size(10);
    group.throughput(Throughput::BytesDecimal(4 * (UPDATES * ELEMENTS) as u64));
    group.bench_function("memcpy of the updates (floor)", |b| {
        let mut target = rows.clone();
        b.iter(|| target.clone_from_slice(black_box(&rows)));
    });
    group.bench_function("gram pass", |b| b.iter(|| Gram::of(black_box(&updates))));
    for rule in [
        Rule::Mean,
        Rule::Median,
        Rule::TrimmedMean { trim: 3 },
        Rule::Krum { byzantine: 3 },
        Rule::Bulyan { byzantine: 3 },
        Rule::GeometricMedian,
        Rule::NormBound { norm: 1.0 },
    ] {
        group.bench_function(rule.name(), |b| b.iter(|| rule.aggregate(black_box(&updates))));
    }
    group.finish();
}

fn optimiser(criterion: &mut Criterion) {
    let delta: Vec<f32> = (0..ELEMENTS).map(noise).collect();
    let mut adapter = vec![0f32; ELEMENTS];
    let mut group = criterion.benchmark_group("one step on 8.4 M elements");
    group.sample_size(10);
    group.throughput(Throughput::BytesDecimal(4 * ELEMENTS as u64));
    let adam = ServerOptimiser::FedAdam { rate: 0.01, beta1: 0.9, beta2: 0.99, tau: 1e-3 };
    let mut state = adam.state(ELEMENTS);
    group.bench_function("fedadam", |b| {
        b.iter(|| adam.step(&mut state, &mut adapter, black_box(&delta)));
    });
    group.finish();
}

criterion_group!(benches, rules, optimiser);
criterion_main!(benches);
