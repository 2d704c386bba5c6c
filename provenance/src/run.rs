//! A run's evidence: its receipts and training statements, checked against one another.

use thiserror::Error;

use crate::bundle::{Bundle, BundleError};
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::predicate::{RECEIPT_TYPE, Receipt, TRAINING_TYPE, TrainingStatement};

/// Receipts in the order of the rounds, and the statement of every site whose update counted.
#[derive(Clone, Debug)]
pub struct RunEvidence {
    /// Each with its bundle.
    pub receipts: Vec<(Bundle, Receipt)>,
    /// Each with its bundle.
    pub trainings: Vec<(Bundle, TrainingStatement)>,
}

impl RunEvidence {
    /// Checks every signature and every link: rounds from 1 on, each receipt naming the one before,
    /// each adapter starting from the last, each update sworn to by its site.
    pub fn verify(
        coordinator: &PublicKey,
        receipts: &[Bundle],
        trainings: &[Bundle],
    ) -> Result<Self, RunError> {
        let mut checked: Vec<(Bundle, Receipt)> = Vec::with_capacity(receipts.len());
        for bundle in receipts {
            let round = checked.len() as u32 + 1;
            let statement =
                bundle.verify(coordinator).map_err(|source| RunError::Receipt { round, source })?;
            let receipt: Receipt = statement
                .predicate_as(RECEIPT_TYPE)
                .ok_or(RunError::Receipt { round, source: BundleError::Malformed })?;
            let about = statement.subject.iter().any(|s| s.digest.sha256 == receipt.adapter_after);
            if !about {
                return Err(RunError::Receipt { round, source: BundleError::Malformed });
            }
            let follows = match checked.last() {
                None => receipt.previous.is_none(),
                Some((before, last)) => {
                    receipt.previous == Some(before.digest())
                        && receipt.run == last.run
                        && receipt.adapter_before == last.adapter_after
                        && receipt.base_digest == last.base_digest
                        && receipt.recipe_digest == last.recipe_digest
                        && receipt.rounds == last.rounds
                }
            };
            if !follows || receipt.round != round {
                return Err(RunError::Chain { round });
            }
            if Digest::of(receipt.plan.as_bytes()) != receipt.plan_digest {
                return Err(RunError::Plan { round });
            }
            if (receipt.participants.len() as u32) < receipt.quorum {
                return Err(RunError::Quorum { round });
            }
            checked.push((bundle.clone(), receipt));
        }
        let last = checked.last().ok_or(RunError::Empty)?;
        if last.1.round != last.1.rounds {
            return Err(RunError::Chain { round: last.1.round + 1 });
        }
        let trainings = check_trainings(&checked, trainings)?;
        Ok(Self { receipts: checked, trainings })
    }

    /// Of the adapter that came out.
    pub fn adapter(&self) -> Option<Digest> {
        self.receipts.last().map(|(_, receipt)| receipt.adapter_after)
    }
}

/// Every participation needs its statement, and no statement may be left over.
fn check_trainings(
    receipts: &[(Bundle, Receipt)],
    bundles: &[Bundle],
) -> Result<Vec<(Bundle, TrainingStatement)>, RunError> {
    let mut left: Vec<&Bundle> = bundles.iter().collect();
    let mut checked = Vec::with_capacity(bundles.len());
    for (_, receipt) in receipts {
        for participation in &receipt.participants {
            let round = receipt.round;
            let pseudonym = &participation.pseudonym;
            let wrong = || RunError::Training { round, pseudonym: pseudonym.clone() };
            let place = left
                .iter()
                .position(|bundle| bundle.digest() == participation.statement_digest)
                .ok_or_else(wrong)?;
            let bundle = left.remove(place);
            let key = PublicKey::from_pem(&participation.key).map_err(|_| wrong())?;
            let statement = bundle.verify(&key).map_err(|_| wrong())?;
            let training: TrainingStatement =
                statement.predicate_as(TRAINING_TYPE).ok_or_else(wrong)?;
            let agrees = training.run == receipt.run
                && training.round == round
                && training.plan_digest == receipt.plan_digest
                && training.factors == receipt.factors
                && training.base_digest == receipt.base_digest
                && training.adapter_digest == receipt.adapter_before
                && training.update_digest == participation.update_digest
                && receipt.roster.contains(pseudonym);
            if !agrees {
                return Err(wrong());
            }
            checked.push((bundle.clone(), training));
        }
    }
    if left.is_empty() { Ok(checked) } else { Err(RunError::Leftover) }
}

/// Why a run's evidence was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// No receipts.
    #[error("there are no round receipts")]
    Empty,
    /// A receipt that the coordinator did not sign, or that is not one.
    #[error("the receipt of round {round}: {source}")]
    Receipt {
        /// The round.
        round: u32,
        /// Why.
        source: BundleError,
    },
    /// A receipt that does not follow the one before.
    #[error("the receipt of round {round} is missing or does not follow the one before")]
    Chain {
        /// The round.
        round: u32,
    },
    /// A receipt whose plan is not the one it names.
    #[error("the plan in the receipt of round {round} does not have the digest it is named by")]
    Plan {
        /// The round.
        round: u32,
    },
    /// Fewer updates than the plan asked for.
    #[error("round {round} counted fewer updates than its quorum")]
    Quorum {
        /// The round.
        round: u32,
    },
    /// A training statement that is missing, or says something else than the receipt.
    #[error(
        "the training statement of {pseudonym} in round {round} is missing or disagrees with the receipt"
    )]
    Training {
        /// The round.
        round: u32,
        /// The site.
        pseudonym: String,
    },
    /// A training statement that no receipt names.
    #[error("there is a training statement that no receipt names")]
    Leftover,
}

impl RunError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "CH5401",
            Self::Receipt { .. } => "CH5402",
            Self::Chain { .. } => "CH5403",
            Self::Quorum { .. } => "CH5404",
            Self::Training { .. } => "CH5405",
            Self::Leftover => "CH5406",
            Self::Plan { .. } => "CH5407",
        }
    }
}
