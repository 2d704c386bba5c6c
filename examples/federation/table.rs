//! What several ways of sending cost and give, on the same data and from the same start.

use chancery_proto::{Codec, Method, PrivacyMode};

use crate::cohort::{Cohort, SITES};

/// One row of the table.
struct Way {
    name: &'static str,
    method: Method,
    /// Peak learning rate; what trains one factor takes larger steps than what trains both.
    rate: f64,
    /// How updates travel; as f32 where there is none.
    codec: Option<Codec>,
    rounds: u32,
}

const DEFAULT: Codec =
    Codec { bits: 10, clip: 1.0, max_samples: 100_000, density: 1.0, feedback: false };
const SMALLEST: Codec = Codec { bits: 4, clip: 0.25, feedback: true, ..DEFAULT };

const fn way(
    name: &'static str,
    method: Method,
    rate: f64,
    codec: Option<Codec>,
    rounds: u32,
) -> Way {
    Way { name, method, rate, codec, rounds }
}

const WAYS: [Way; 7] = [
    way("f32, both factors, both ways", Method::Fedit, 7.5e-3, None, 10),
    way("masked default (FFA)", Method::Ffa, 1.5e-2, Some(DEFAULT), 10),
    way("masked smallest (FFA)", Method::Ffa, 1.5e-2, Some(SMALLEST), 10),
    way("RoLoRA", Method::Rolora, 1e-2, Some(DEFAULT), 10),
    way("FedIT", Method::Fedit, 7.5e-3, Some(DEFAULT), 10),
    way("stack (trusted)", Method::Stack, 7.5e-3, Some(DEFAULT), 10),
    way("FedIT, the default's bytes", Method::Fedit, 7.5e-3, Some(DEFAULT), 5),
];

/// Runs every way and prints the table: payload bytes per site and round, and the figures at the end.
pub(crate) fn print(cohort: &mut Cohort) -> anyhow::Result<()> {
    println!(
        "{:<30}{:>7}{:>9}{:>9}{:>8}{:>11}{:>8}{:>7}{:>7}  {}",
        "",
        "rounds",
        "up",
        "down",
        "less",
        "all bytes",
        "missed",
        "loss",
        "mean",
        SITES.join(" / ")
    );
    let mut most = 0;
    let mut exact = Vec::new();
    for way in &WAYS {
        let recipe = &mut cohort.recipe;
        recipe.federation.method = way.method;
        recipe.federation.rounds = way.rounds;
        recipe.training.learning_rate = way.rate;
        recipe.privacy.mode = match way.method {
            Method::Stack => PrivacyMode::Trusted,
            _ => PrivacyMode::Masked,
        };
        recipe.codec = way.codec.unwrap_or(DEFAULT);
        recipe.check()?;
        cohort.float = way.codec.is_none();
        cohort.residuals.clear();
        let mut adapter = cohort.initial()?;
        let (mut up, mut down, mut missed) = (0, 0, 0f64);
        for round in 1..=way.rounds {
            let (next, sent) = cohort.round(round, &adapter)?;
            adapter = next;
            up += sent.bytes / SITES.len();
            down += sent.down;
            missed = missed.max(sent.missed.map_or(0.0, |found| found.relative));
        }
        let scores = cohort.scores(Some(&adapter))?;
        // Nobody looks at what floats miss: that is how it is done elsewhere.
        let missed = match way.codec {
            Some(_) => format!("{:.1} %", missed * 100.0),
            None => "-".to_owned(),
        };
        let (all, rounds) = (up + down, way.rounds as usize);
        most = most.max(all / rounds);
        let less = 100.0 * (1.0 - (all / rounds) as f64 / most as f64);
        let mean =
            |of: fn(&(f64, f64)) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        let (loss, accuracy) = (mean(|score| score.0), 100.0 * mean(|score| score.1));
        let each: Vec<String> =
            scores.iter().map(|(_, accuracy)| format!("{:.1}", accuracy * 100.0)).collect();
        println!(
            "{:<30}{:>7}{:>9}{:>9}{less:>6.1} %{all:>11}{missed:>8}{loss:>7.3}{accuracy:>7.1}  {}",
            way.name,
            way.rounds,
            up / rounds,
            down / rounds,
            each.join(" / ")
        );
        if way.codec == Some(DEFAULT) && matches!(way.method, Method::Ffa | Method::Rolora) {
            exact.push((way.method, accuracy, loss, all));
        }
    }
    exact.sort_by(|one, other| other.1.total_cmp(&one.1));
    if let [better, other] = exact.as_slice() {
        let (name, less) = (better.0.name(), other.0.name());
        println!(
            "\nOf the two methods whose masked sum is exact, {name} is the better one here: {:.1} % right at a \
             loss of {:.3}\nfor {} bytes, {less} {:.1} % at {:.3} for {}. The default of masked runs is {}.",
            better.1,
            better.2,
            better.3,
            other.1,
            other.2,
            other.3,
            Method::default().name()
        );
    }
    Ok(())
}
