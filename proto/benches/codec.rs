//! The update codec beside a copy of the same bytes: `cargo bench -p chancery-proto`.

use std::hint::black_box;

use chancery_proto::{Accumulator, Ring};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// LoRA r=16 on the query and value projections of a 7B model.
const ELEMENTS: usize = 8_388_608;

fn codec(criterion: &mut Criterion) {
    for bits in [14, 10] {
        with_ring(criterion, Ring::for_cohort(bits, 0.25, 1000, 4));
    }
}

fn with_ring(criterion: &mut Criterion, ring: Ring) {
    let delta: Vec<f32> = (0..ELEMENTS).map(|i| ((i as f32) * 0.37).sin() * 0.1).collect();
    let packed =
        ring.encode(&delta, 1000, [7; 32]).map(|encoded| encoded.bytes).unwrap_or_default();
    let mut group =
        criterion.benchmark_group(format!("codec, 8.4 M elements, {}-bit ring", ring.ring_bits));
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
        let mut mean = vec![0f32; ELEMENTS];
        let mut sum = Accumulator::new(&ring, ELEMENTS).ok();
        let _ = sum.as_mut().map(|sum| sum.add(packed.as_slice()));
        b.iter(|| sum.as_ref().map(|sum| black_box(sum).mean_into(&mut mean)));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
