//! What several ways of sending cost and give, on the same data and from the same start.

use chancery_proto::Method;

use crate::cohort::{Cohort, SITES};

/// One row of the table.
struct Way {
    name: &'static str,
    method: Method,
    /// Peak learning rate; what trains one factor takes larger steps than what trains both.
    rate: f64,
    /// Bits before the sum and the clip; none where f32 travels.
    codec: Option<(u32, f32)>,
    rounds: u32,
}

const WAYS: [Way; 6] = [
    Way {
        name: "f32 both factors both ways",
        method: Method::Fedit,
        rate: 7.5e-3,
        codec: None,
        rounds: 10,
    },
    Way {
        name: "masked default (FFA)",
        method: Method::Ffa,
        rate: 1.5e-2,
        codec: Some((10, 1.0)),
        rounds: 10,
    },
    Way {
        name: "masked smallest (FFA)",
        method: Method::Ffa,
        rate: 1.5e-2,
        codec: Some((4, 0.25)),
        rounds: 10,
    },
    Way {
        name: "RoLoRA, equal rounds",
        method: Method::Rolora,
        rate: 1e-2,
        codec: Some((10, 1.0)),
        rounds: 10,
    },
    Way {
        name: "FedIT, equal rounds",
        method: Method::Fedit,
        rate: 7.5e-3,
        codec: Some((10, 1.0)),
        rounds: 10,
    },
    Way {
        name: "FedIT, equal bytes",
        method: Method::Fedit,
        rate: 7.5e-3,
        codec: Some((10, 1.0)),
        rounds: 5,
    },
];

/// Runs every way and prints the table: payload bytes per site and round, and the figures at the end.
pub(crate) fn print(cohort: &mut Cohort) -> anyhow::Result<()> {
    println!(
        "{:<28}{:>7}{:>10}{:>10}{:>8}{:>9}  {}",
        "",
        "rounds",
        "up",
        "down",
        "less",
        "loss",
        SITES.join(" / ")
    );
    let mut most = 0;
    for way in &WAYS {
        cohort.recipe.federation.method = way.method;
        cohort.recipe.federation.rounds = way.rounds;
        cohort.recipe.training.learning_rate = way.rate;
        cohort.float = way.codec.is_none();
        if let Some((bits, clip)) = way.codec {
            (cohort.recipe.codec.bits, cohort.recipe.codec.clip) = (bits, clip);
        }
        let mut adapter = cohort.initial()?;
        let (mut up, mut down) = (0, 0);
        for round in 1..=way.rounds {
            let (next, sent) = cohort.round(round, &adapter)?;
            adapter = next;
            up += sent.bytes / SITES.len();
            down += sent.down;
        }
        let scores = cohort.scores(Some(&adapter))?;
        let (up, down) = (up / way.rounds as usize, down / way.rounds as usize);
        most = most.max(up + down);
        let less = 100.0 * (1.0 - (up + down) as f64 / most as f64);
        let loss = scores.iter().map(|(loss, _)| loss).sum::<f64>() / scores.len() as f64;
        let accuracy: Vec<String> =
            scores.iter().map(|(_, accuracy)| format!("{:.1}", accuracy * 100.0)).collect();
        println!(
            "{:<28}{:>7}{up:>10}{down:>10}{less:>6.1} %{loss:>9.4}  {}",
            way.name,
            way.rounds,
            accuracy.join(" / ")
        );
    }
    Ok(())
}
