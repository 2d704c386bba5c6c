//! What a site shows: a bar per round on a terminal, plain lines otherwise.

use std::io::IsTerminal as _;

use chancery_proto::Factors;
use indicatif::{ProgressBar, ProgressStyle};

use crate::trainer::Progress;

/// Something that happened at this site.
#[derive(Debug)]
pub enum Note<'a> {
    /// The model and the data are loaded.
    Ready {
        /// This site's name.
        site: &'a str,
        /// Training examples.
        samples: usize,
    },
    /// There is nothing to do.
    Waiting {
        /// Why.
        reason: &'a str,
    },
    /// A round's training begins.
    Round {
        /// From 1.
        round: u32,
        /// Of how many.
        rounds: u32,
        /// What trains.
        factors: Factors,
    },
    /// An optimiser step is done.
    Step {
        /// The step.
        progress: Progress,
        /// Since the training began.
        seconds: f64,
    },
    /// The update was taken.
    Sent {
        /// The round.
        round: u32,
        /// Its size.
        bytes: usize,
        /// The last step's loss.
        loss: f64,
    },
    /// The held-out examples were scored.
    Evaluated {
        /// The round.
        round: u32,
        /// Mean over completion tokens.
        loss: f64,
        /// Share of completions that are right to the last token.
        accuracy: f64,
    },
    /// The coordinator did not take something.
    Refused {
        /// Its words.
        why: &'a str,
    },
    /// The coordinator's receipts were fetched and checked.
    Receipts {
        /// Rounds with a receipt.
        rounds: usize,
        /// Rounds in whose sum this site's update is.
        own: usize,
    },
    /// The run is over.
    Finished {
        /// succeeded, failed or stopped.
        outcome: &'a str,
        /// Its digest, or why.
        detail: &'a str,
    },
}

/// Whoever wants to know.
pub trait Observer: Send {
    /// Takes one note.
    fn note(&mut self, note: Note<'_>);
}

/// Bars on a terminal, lines elsewhere.
pub fn observer() -> Box<dyn Observer> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::default())
    } else {
        Box::new(Lines::default())
    }
}

#[derive(Default)]
struct Bars {
    bar: Option<ProgressBar>,
    title: String,
}

impl Observer for Bars {
    fn note(&mut self, note: Note<'_>) {
        match &note {
            Note::Round { round, rounds, .. } => self.title = format!("round {round}/{rounds}"),
            Note::Step { progress, seconds } if progress.tokens > 0 => {
                let bar = self.bar.get_or_insert_with(|| {
                    let style = ProgressStyle::with_template(
                        "{prefix} {bar:24} step {pos}/{len}  {msg}  {eta} left",
                    );
                    let bar = ProgressBar::new(u64::from(progress.steps));
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    bar.set_prefix(self.title.clone());
                    bar
                });
                let rate = progress.tokens as f64 / seconds.max(1e-9);
                bar.set_message(format!("loss {:.3}  {rate:.0} tokens/s", progress.loss));
                bar.set_position(u64::from(progress.step));
            }
            Note::Step { .. } => {}
            other => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                if let Some(line) = line(other) {
                    eprintln!("{line}");
                }
            }
        }
    }
}

#[derive(Default)]
struct Lines {
    waiting: String,
}

impl Observer for Lines {
    fn note(&mut self, note: Note<'_>) {
        if let Note::Waiting { reason } = &note {
            if self.waiting == *reason {
                return;
            }
            (*reason).clone_into(&mut self.waiting);
        }
        if let Some(line) = line(&note) {
            eprintln!("{line}");
        }
    }
}

fn line(note: &Note<'_>) -> Option<String> {
    Some(match note {
        Note::Ready { site, samples } => format!("{site}: ready with {samples} examples"),
        Note::Waiting { reason } => format!("waiting: {reason}"),
        Note::Round { round, rounds, factors } => {
            format!("round {round}/{rounds}: training {factors}")
        }
        Note::Step { progress, seconds } => {
            // A line every tenth of the way is enough for a log file.
            if progress.steps == 0 || progress.step % (progress.steps / 10).max(1) != 0 {
                return None;
            }
            if progress.tokens == 0 {
                return None;
            }
            let rate = progress.tokens as f64 / seconds.max(1e-9);
            let (step, steps, loss) = (progress.step, progress.steps, progress.loss);
            format!("  step {step}/{steps}  loss {loss:.3}  {rate:.0} tokens/s")
        }
        Note::Sent { round, bytes, loss } => {
            format!("round {round}: update sent, {bytes} bytes, loss {loss:.3}")
        }
        Note::Evaluated { round, loss, accuracy } => {
            format!("round {round}: held-out loss {loss:.3}, accuracy {:.1} %", accuracy * 100.0)
        }
        Note::Refused { why } => format!("refused: {why}"),
        Note::Receipts { rounds, own } => {
            format!("receipts: {rounds} rounds, this site's update is in {own} of the sums")
        }
        Note::Finished { outcome, detail } => format!("run {outcome}: {detail}"),
    })
}
