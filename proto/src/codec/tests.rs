use proptest::prelude::*;

use super::*;

fn ring(bits: u32, sites: u32) -> Ring {
    Ring::for_cohort(bits, 0.5, 1000, sites)
}

fn sum_of(ring: &Ring, updates: &[Vec<u8>], elements: usize) -> Mean {
    let mut sum = Accumulator::new(ring, elements).unwrap();
    for update in updates {
        ring.check(update.as_slice(), elements).unwrap();
        sum.add(update.as_slice()).unwrap();
    }
    sum.finish().unwrap()
}

#[test]
fn weighted_mean_is_within_one_level() {
    let ring = ring(16, 3);
    let deltas = [vec![0.1f32, -0.2, 0.5], vec![0.3, 0.0, -0.5], vec![-0.1, 0.2, 0.25]];
    let samples = [1000u64, 500, 250];
    let updates: Vec<_> = deltas
        .iter()
        .zip(samples)
        .map(|(delta, n)| ring.encode(delta, n, [n as u8; 32]).unwrap().bytes)
        .collect();
    let mean = sum_of(&ring, &updates, 3);
    for element in 0..3 {
        let exact: f64 = deltas
            .iter()
            .zip(samples)
            .map(|(delta, n)| f64::from(delta[element]) * n as f64)
            .sum::<f64>()
            / 1750.0;
        assert!((f64::from(mean.values[element]) - exact).abs() < 1e-4, "{mean:?} {exact}");
    }
    assert!((mean.weight - 1.75).abs() < 1e-3);
}

#[test]
fn rounding_is_unbiased() {
    let ring = ring(6, 1);
    let delta = vec![0.123f32; 40_000];
    let encoded = ring.encode(&delta, 1000, [3; 32]).unwrap();
    let mean = sum_of(&ring, &[encoded.bytes], delta.len());
    let average = mean.values.iter().sum::<f32>() / mean.values.len() as f32;
    assert!((average - 0.123).abs() < 2e-4, "{average}");
}

#[test]
fn nan_is_refused_and_infinity_is_clipped() {
    let ring = ring(14, 3);
    assert_eq!(ring.encode(&[f32::NAN], 1, [0; 32]).unwrap_err().code(), "CH1204");
    let encoded = ring.encode(&[f32::INFINITY, 0.0], 1000, [0; 32]).unwrap();
    assert_eq!(encoded.clipped, 0.5);
    assert!((sum_of(&ring, &[encoded.bytes], 2).values[0] - 0.5).abs() < 1e-3);
}

#[test]
fn the_largest_sum_fits_whatever_the_cohort() {
    for bits in [4, 10, 20] {
        for sites in (1..70).chain([1000, 1023, 1024]) {
            let ring = ring(bits, sites);
            ring.check_parameters().unwrap();
            let at_least = (1 << (bits - 1)) - 1;
            assert!((at_least..=2 * at_least + 1).contains(&ring.top), "{ring:?}");
            for clip in [0.5, -0.5] {
                let update = ring.encode(&[clip], 1000, [1; 32]).unwrap().bytes;
                let mean = sum_of(&ring, &vec![update; sites as usize], 1);
                assert_eq!(mean.values, [clip], "{bits} bits, {sites} sites");
            }
        }
    }
}

#[test]
fn foreign_bytes_are_refused() {
    let ring = ring(14, 3);
    let good = ring.encode(&[0.1; 100], 10, [1; 32]).unwrap().bytes;
    assert_eq!(ring.check(&good[1..], 100).unwrap_err().code(), "CH1202");
    assert_eq!(
        ring.check([&good[..], &[0]].concat().as_slice(), 100).unwrap_err().code(),
        "CH1202"
    );
    let mut out_of_range = good.clone();
    out_of_range[0] = 0xff;
    out_of_range[1] = 0x7f;
    assert_eq!(ring.check(out_of_range.as_slice(), 100).unwrap_err().code(), "CH1203");
    assert_eq!(ring.check(vec![0; good.len()].as_slice(), 100).unwrap_err().code(), "CH1203");
}

proptest! {
    #[test]
    fn any_order_gives_the_same_bytes(
        bits in 4u32..=20,
        elements in 1usize..300,
        seed: u64,
    ) {
        let ring = ring(bits, 4);
        let mut updates: Vec<Vec<u8>> = (0u8..4)
            .map(|site| {
                let delta: Vec<f32> = (0..elements)
                    .map(|i| ((i as f32 + f32::from(site)) * 0.37 + seed as f32 * 1e-12).sin())
                    .collect();
                ring.encode(&delta, 250 * (u64::from(site) + 1), [site; 32]).unwrap().bytes
            })
            .collect();
        prop_assert_eq!(updates[0].len(), ring.packed_len(elements));
        let forward = sum_of(&ring, &updates, elements);
        updates.rotate_left(1);
        updates.swap(0, 2);
        let shuffled = sum_of(&ring, &updates, elements);
        prop_assert_eq!(forward, shuffled);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, elements in 0usize..200) {
        let ring = ring(14, 3);
        let _ = ring.check(bytes.as_slice(), elements);
        if let Ok(mut sum) = Accumulator::new(&ring, elements) {
            let _ = sum.add(bytes.as_slice());
            let _ = sum.finish();
        }
    }
}
