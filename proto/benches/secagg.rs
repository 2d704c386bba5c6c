//! Masking and unmasking beside the key streams they are made of:
//! `cargo bench --workspace --bench secagg`. One thread, so that seconds are CPU seconds.

use std::hint::black_box;
use std::num::NonZeroUsize;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use chancery_proto::secagg::{MaskSeed, Seed, Sign, mask_packed};
use chancery_proto::{Accumulator, Ring};
use criterion::{Criterion, criterion_group, criterion_main};

/// LoRA r=16 on the query and value projections of a 7B model.
const ELEMENTS: usize = 8_388_608;

fn masks(number: usize) -> Vec<MaskSeed> {
    (0..number)
        .map(|i| MaskSeed {
            seed: Seed::from_bytes([i as u8; 32]),
            sign: if i % 2 == 0 { Sign::Plus } else { Sign::Minus },
        })
        .collect()
}

/// The cipher alone, over a block that stays in the cache.
fn streams(number: usize, bytes: usize) {
    let mut blocks = vec![aes::Block::default(); 1024];
    for i in 0..number {
        let cipher = aes::Aes256::new(&[i as u8; 32].into());
        for _ in 0..bytes / (16 * blocks.len()) {
            cipher.encrypt_blocks(black_box(&mut blocks));
        }
    }
}

fn secagg(criterion: &mut Criterion) {
    let ring = Ring::for_cohort(12, 0.25, 1000, 12);
    assert_eq!(ring.ring_bits, 16);
    let delta: Vec<f32> = (0..ELEMENTS).map(|i| ((i as f32) * 0.37).sin() * 0.1).collect();
    let clear = ring.encode(&delta, 1000, [7; 32]).map(|e| e.bytes).unwrap_or_default();

    let mut group = criterion.benchmark_group("secagg, 12 sites, 8.4 M elements, 16-bit ring");
    group.sample_size(10);
    group.bench_function("12 key streams (floor of a site)", |b| {
        b.iter(|| streams(12, clear.len()));
    });
    // A site's own mask and one with each of the eleven others.
    let site = masks(12);
    let mut packed = clear.clone();
    group.bench_function("mask at a site", |b| {
        b.iter(|| mask_packed(&ring, black_box(&mut packed), ELEMENTS, &site));
    });
    group.bench_function("encode and mask at a site", |b| {
        b.iter(|| {
            ring.encode(black_box(&delta), 1000, [7; 32])
                .map(|mut encoded| mask_packed(&ring, &mut encoded.bytes, ELEMENTS, &site))
        });
    });
    // Nine survivors' own masks, and one between each of them and each of the three lost sites.
    let coordinator = masks(9 + 9 * 3);
    group.bench_function("36 key streams (floor of the coordinator)", |b| {
        b.iter(|| streams(36, clear.len()));
    });
    let mut sum = Accumulator::new(&ring, ELEMENTS).ok();
    group.bench_function("unmask at the coordinator, 3 lost", |b| {
        b.iter(|| sum.as_mut().map(|sum| sum.unmask(&coordinator, NonZeroUsize::MIN)));
    });
    group.finish();
}

criterion_group!(benches, secagg);
criterion_main!(benches);
