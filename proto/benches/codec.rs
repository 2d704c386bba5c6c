//! The update codec beside a copy of the same bytes: `cargo bench -p chancery-proto`.

use std::hint::black_box;

use chancery_proto::{Accumulator, Ring};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// LoRA r=16 on the query and value projections of a 7B model.
const ELEMENTS: usize = 8_388_608;

fn codec(criterion: &mut Criterion) {
    let ring = Ring::for_cohort(14, 0.25, 1000, 4);
    let delta: Vec<f32> = (0..ELEMENTS).map(|i| ((i as f32) * 0.37).sin() * 0.1).collect();
    let packed =
        ring.encode(&delta, 1000, [7; 32]).map(|encoded| encoded.bytes).unwrap_or_default();
    let mut group = criterion.benchmark_group("codec, 8.4 M elements, 16-bit ring");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(4 * ELEMENTS as u64));
    group.bench_function("memcpy of the f32 delta (floor)", |b| {
        let mut target = vec![0f32; ELEMENTS];
        b.iter(|| target.copy_from_slice(black_box(&delta)));
    });
    group.bench_function("encode", |b| {
        let mut target = packed.clone();
        b.iter(|| ring.encode_into(black_box(&delta), 1000, [7; 32], &mut target));
    });
    group.throughput(Throughput::Bytes(packed.len() as u64));
    group.bench_function("memcpy of the packed update (floor)", |b| {
        let mut target = vec![0u8; packed.len()];
        b.iter(|| target.copy_from_slice(black_box(&packed)));
    });
    let mut sum = Accumulator::new(&ring, ELEMENTS).ok();
    group.bench_function("ring add", |b| {
        b.iter(|| sum.as_mut().map(|sum| sum.add(black_box(packed.as_slice()))));
    });
    group.throughput(Throughput::Bytes(4 * ELEMENTS as u64));
    group.bench_function("decode", |b| {
        let make = || sum.clone();
        b.iter_batched(make, |sum| sum.map(Accumulator::finish), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
