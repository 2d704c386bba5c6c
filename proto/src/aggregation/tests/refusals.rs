//! What is refused, and with which code.

use serde::Deserialize;
use serde::de::value::{Error, MapDeserializer};

use super::*;

#[test]
fn each_rule_needs_enough_updates() {
    for (rule, needed) in [
        (Rule::Mean, 1),
        (Rule::Median, 1),
        (Rule::TrimmedMean { trim: 3 }, 7),
        (Rule::Krum { byzantine: 2 }, 7),
        (Rule::MultiKrum { byzantine: 2, keep: 3 }, 7),
        (Rule::Bulyan { byzantine: 2 }, 11),
        (Rule::GeometricMedian, 1),
        (Rule::NormBound { norm: 1.0 }, 1),
    ] {
        assert_eq!(code(rule.check(needed - 1)), "CH3301", "{rule:?}");
        assert!(rule.check(needed).is_ok(), "{rule:?}");
        let updates = grid(needed - 1, 5, 1);
        assert_eq!(code(rule.aggregate(&Memory::new(&updates))), "CH3301", "{rule:?}");
        let updates = grid(needed, 5, 1);
        assert!(rule.aggregate(&Memory::new(&updates)).is_ok(), "{rule:?}");
    }
    // Numbers whose double or quadruple wraps around to little.
    for absurd in [usize::MAX, usize::MAX / 2 + 1, usize::MAX / 4 + 1] {
        for rule in [
            Rule::TrimmedMean { trim: absurd },
            Rule::Krum { byzantine: absurd },
            Rule::MultiKrum { byzantine: absurd, keep: absurd },
            Rule::Bulyan { byzantine: absurd },
        ] {
            assert_eq!(code(rule.check(100)), "CH3301", "{rule:?}");
        }
    }
}

#[test]
fn a_refusal_says_what_why_and_the_fix() {
    let said = Rule::Krum { byzantine: 2 }.check(6).unwrap_err().to_string();
    assert_eq!(
        said,
        "krum needs 7 updates or more, because hostile updates could be each other's nearest \
         neighbours; this round has 6\n  fix:  raise the quorum to 7, or let the rule expect fewer \
         hostile sites"
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    for keep in [0, 6, usize::MAX] {
        assert_eq!(code(Rule::MultiKrum { byzantine: 2, keep }.check(9)), "CH3302", "{keep}");
    }
    assert!(Rule::MultiKrum { byzantine: 2, keep: 5 }.check(9).is_ok());
    for norm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(code(Rule::NormBound { norm }.check(9)), "CH3303", "{norm}");
    }
}

#[test]
fn weights_that_give_no_mean_are_refused() {
    let updates = grid(3, 5, 1);
    for weights in [
        &[1.0, 1.0][..],
        &[0.0, 0.0, 0.0],
        &[1.0, -1.0, 1.0],
        &[1.0, f64::NAN, 1.0],
        &[1.0, f64::INFINITY, 1.0],
        &[f64::MAX, f64::MAX, 1.0],
    ] {
        let source = Memory::new(&updates).with_weights(weights);
        assert_eq!(code(Rule::Mean.aggregate(&source)), "CH3304", "{weights:?}");
        assert_eq!(code(Rule::NormBound { norm: 1.0 }.aggregate(&source)), "CH3304", "{weights:?}");
        assert!(Rule::Median.aggregate(&source).is_ok(), "the median does not ask for them");
    }
}

#[test]
fn one_value_that_is_no_number_is_refused_by_every_rule() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut updates = grid(8, 150, 1);
        updates[5][149] = value;
        for rule in [
            Rule::Mean,
            Rule::Median,
            Rule::TrimmedMean { trim: 1 },
            Rule::Krum { byzantine: 1 },
            Rule::MultiKrum { byzantine: 1, keep: 2 },
            Rule::Bulyan { byzantine: 1 },
            Rule::GeometricMedian,
            Rule::NormBound { norm: 1.0 },
        ] {
            let refused = rule.aggregate(&Memory::new(&updates)).unwrap_err();
            assert!(matches!(refused, RuleError::NotFinite { update: 5 }), "{rule:?}: {refused}");
        }
    }
}

/// A source that hands out these blocks, each an offset and the length of every update's range, and
/// then fails if it is to.
struct Broken(&'static [(usize, &'static [usize])], bool);

impl Updates for Broken {
    fn count(&self) -> usize {
        2
    }

    fn elements(&self) -> usize {
        10
    }

    fn weights(&self) -> &[f64] {
        &[1.0, 1.0]
    }

    fn blocks(&self, each: &mut Each<'_>) -> Result<(), RuleError> {
        for (offset, lengths) in self.0 {
            let block: Vec<&[f32]> = lengths.iter().map(|len| &[0.0; 20][..*len]).collect();
            each(*offset, &block)?;
        }
        if self.1 { Err(RuleError::Read("the disk is gone".into())) } else { Ok(()) }
    }
}

#[test]
fn a_source_that_breaks_its_word_is_refused() {
    let right: &[(usize, &[usize])] = &[(0, &[6, 6]), (6, &[4, 4])];
    assert!(Rule::Median.aggregate(&Broken(right, false)).is_ok());
    assert_eq!(code(Rule::Median.aggregate(&Broken(right, true))), "CH3307");
    let wrong: &[&[(usize, &[usize])]] = &[
        &[],
        &[(0, &[6, 6])],
        &[(0, &[6, 6]), (7, &[3, 3])],
        &[(0, &[6, 6]), (0, &[4, 4])],
        &[(0, &[6, 6]), (6, &[5, 5])],
        &[(6, &[4, 4]), (0, &[6, 6])],
        &[(0, &[10, 9])],
        &[(0, &[10])],
        &[(0, &[10, 10, 10])],
        &[(0, &[10, 10]), (10, &[10, 10])],
        &[(usize::MAX, &[10, 10])],
    ];
    for blocks in wrong {
        for rule in [Rule::Mean, Rule::Median, Rule::GeometricMedian, Rule::NormBound { norm: 1.0 }]
        {
            assert_eq!(code(rule.aggregate(&Broken(blocks, false))), "CH3306", "{blocks:?}");
        }
    }
    let ragged = [vec![0f32; 3], vec![0f32; 4]];
    assert_eq!(code(Rule::Median.aggregate(&Memory::new(&ragged))), "CH3306");
}

#[test]
fn a_recipe_calls_a_rule_by_its_name() {
    let read = |fields: &[(&'static str, &'static str)]| {
        Rule::deserialize(MapDeserializer::<_, Error>::new(fields.iter().copied()))
    };
    let named = |name| read(&[("name", name)]);
    for rule in [Rule::Mean, Rule::Median, Rule::GeometricMedian] {
        assert_eq!(named(rule.name()), Ok(rule));
        assert!(read(&[("name", rule.name()), ("trim", "3")]).is_err(), "{rule:?} has no fields");
    }
    assert!(named("average").is_err());
    let error = named("multi-krum").unwrap_err().to_string();
    assert!(error.contains("byzantine"), "{error}");
}
