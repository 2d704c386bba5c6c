//! The learning rate over a run, and the clip that goes with it.

use crate::recipe::Training;

impl Training {
    /// Linear warm-up, then a cosine to `final_fraction` of the peak; `step` counts from 0 over the whole
    /// run of `total` steps.
    pub fn learning_rate_at(&self, step: u64, total: u64) -> f64 {
        let warmup = u64::from(self.warmup);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let progress = ((step - warmup) as f64 / span).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.learning_rate * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
    }

    /// The largest learning rate of a round relative to the peak, in 64ths and rounded up: a site must find
    /// the same number as the coordinator, whatever their cosines round to.
    pub(crate) fn fraction(&self, round: u32, rounds: u32) -> f32 {
        let (steps, total) = (u64::from(self.steps), u64::from(self.steps) * u64::from(rounds));
        let first = u64::from(round.max(1) - 1) * steps;
        // It rises to the end of the warm-up and falls from there.
        let highest = u64::from(self.warmup).clamp(first, first + steps.max(1) - 1);
        let fraction = self.learning_rate_at(highest, total) / self.learning_rate;
        (fraction * 64.0 - 1e-6).ceil().clamp(1.0, 64.0) as f32 / 64.0
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::{Recipe, SAMPLE};

    #[test]
    fn the_rate_rises_and_falls() {
        let mut training = Recipe::from_toml(SAMPLE).unwrap().training;
        (training.warmup, training.learning_rate, training.final_fraction) = (10, 1.0, 0.1);
        let rate = |step| training.learning_rate_at(step, 110);
        assert_eq!((rate(0), rate(9), rate(10)), (0.1, 1.0, 1.0));
        assert!((rate(60) - 0.55).abs() < 1e-12 && (rate(110) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_rounds_fraction_is_its_highest_rate() {
        let mut training = Recipe::from_toml(SAMPLE).unwrap().training;
        (training.steps, training.warmup, training.final_fraction) = (20, 30, 0.0);
        for round in 1..=10 {
            let first = u64::from(round - 1) * 20;
            let highest = (first..first + 20)
                .map(|step| training.learning_rate_at(step, 200) / training.learning_rate)
                .fold(0.0, f64::max);
            let found = f64::from(training.fraction(round, 10));
            assert!(
                found >= highest - 1e-6 && found < highest + 1.0 / 64.0,
                "{round}: {found} {highest}"
            );
        }
        assert_eq!(training.fraction(2, 10), 1.0);
    }
}
