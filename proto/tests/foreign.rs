//! Bytes from outside, damaged in every way: nothing panics, and what is accepted can be worked with.

use chancery_proto::secagg::Member;
use chancery_proto::{BaseShape, JoinToken, Moment, Plan, Recipe, SAMPLE, TOKEN_SECRET, Tensors};
use proptest::prelude::*;
use proptest::sample::Index;

const BASE: BaseShape = BaseShape {
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 4,
};

fn recipe() -> Recipe {
    let mut recipe = Recipe::from_toml(SAMPLE).unwrap();
    recipe.adapter.rank = 2;
    recipe
}

fn plan() -> Plan {
    let member = |site: u8| Member { pseudonym: format!("s{site}"), identity: [site; 32] };
    let moment = Moment {
        run: "run".to_owned(),
        round: 1,
        base_shape: BASE,
        adapter_digest: String::new(),
        roster: (0..3).map(|site| (member(site), Some(2))).collect(),
        samples: 10,
        sketch: None,
    };
    Plan::new(&recipe(), moment)
}

fn adapter() -> Tensors {
    plan().adapter.initial(&BASE, 1).unwrap()
}

/// A few changes of valid bytes.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), any::<Index>(), any::<u8>(), 0..5u8);
    prop::collection::vec(change, 1..4).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (at, other, byte, what) in changes {
            if bytes.is_empty() {
                break;
            }
            let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
            match what {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"0123456789-.eE\"[]{},"[usize::from(byte) % 20],
                2 => drop(bytes.drain(at.min(other)..at.max(other))),
                3 => {
                    let part = bytes[at.min(other)..at.max(other)].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn recipes(text in damaged(SAMPLE.as_bytes().to_vec())) {
        if let Ok(recipe) = Recipe::from_toml(&String::from_utf8_lossy(&text)) {
            prop_assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe);
        }
    }

    #[test]
    fn recipes_on_the_wire(text in damaged(recipe().to_json().into_bytes())) {
        let _ = Recipe::from_json(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn plans(text in damaged(plan().to_json())) {
        if let Ok(plan) = Plan::from_json(&text)
            && plan.departs_from(&recipe()).is_none()
            && plan.base_shape == BASE
        {
            // What a site and an auditor go on to do.
            let _ = plan.setting([0; 32]).check();
            let _ = plan.ring.check_parameters();
            let adapter = plan.adapter.initial(&plan.base_shape, 1).unwrap();
            for site in 0..plan.roster.len() {
                let start = plan.start(site, &adapter);
                prop_assert_eq!(start.elements() % plan.adapter_of(site).rank, 0);
                prop_assert!(plan.elements_of(site) <= adapter.elements());
            }
        }
    }

    #[test]
    fn adapters(bytes in damaged(adapter().to_safetensors().unwrap())) {
        if let Ok(tensors) = Tensors::from_safetensors(&bytes) {
            let _ = adapter().same_layout(&tensors);
        }
    }

    #[test]
    fn tokens(text in damaged(JoinToken::new([7; TOKEN_SECRET], [9; 32]).expose().as_bytes().to_vec())) {
        let _ = String::from_utf8_lossy(&text).parse::<JoinToken>();
    }
}
