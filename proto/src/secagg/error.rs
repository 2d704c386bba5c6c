//! Why a message of the protocol was refused. Each names its culprit where there is one.

use thiserror::Error;

/// Why a message of the protocol was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SecaggError {
    /// Too few sites to hide one among.
    #[error("{found} sites cannot hide one among them; masked rounds need {needed}")]
    TooFew {
        /// Sites that are there.
        found: usize,
        /// Sites that are needed.
        needed: usize,
    },
    /// A plan whose threshold protects nobody, or that nobody can reach.
    #[error(
        "a threshold of {threshold} does not protect {sites} sites; it must be {least} to {sites}"
    )]
    Threshold {
        /// The plan's threshold.
        threshold: usize,
        /// The cohort.
        sites: usize,
        /// The least that is accepted.
        least: usize,
    },
    /// No graph of this size keeps the promised probabilities.
    #[error("no graph over {sites} sites tolerates these rates of corrupt and lost sites")]
    Graph {
        /// Sites.
        sites: usize,
    },
    /// A roster that names a site or a key twice, or is not sorted.
    #[error("the roster is not sorted or names {pseudonym} or its key twice")]
    Roster {
        /// The entry.
        pseudonym: String,
    },
    /// Somebody who is not in the roster, or not in this step.
    #[error("{pseudonym} has no part in this step of the round")]
    Foreign {
        /// The site.
        pseudonym: String,
    },
    /// One site twice where once is allowed.
    #[error("{pseudonym} appears twice in one step of the round")]
    Twice {
        /// The site.
        pseudonym: String,
    },
    /// A signature that the site's identity did not make over this round.
    #[error("{what} of {pseudonym} is not signed by its identity for this round")]
    Signature {
        /// What was signed.
        what: &'static str,
        /// The site.
        pseudonym: String,
    },
    /// Keys that were used by somebody else, or that no honest site makes.
    #[error("the keys of {pseudonym} are another site's or no proper keys")]
    Keys {
        /// The site.
        pseudonym: String,
    },
    /// The site's own keys are missing from what it is shown, or were exchanged.
    #[error("this site's own keys were left out or exchanged")]
    OwnKeys,
    /// A second view of a round that differs from the first.
    #[error("the round was shown differently before: {what}")]
    Replay {
        /// What differs.
        what: &'static str,
    },
    /// A share that cannot be opened or does not fit.
    #[error("the share of {from} for {to} cannot be opened")]
    Sealed {
        /// Who made it.
        from: String,
        /// Who should read it.
        to: String,
    },
    /// A request for both secrets of one site, or for one that is nobody's to ask for.
    #[error("the shares asked for {pseudonym} are not the ones this step allows")]
    Kind {
        /// The owner of the secret.
        pseudonym: String,
    },
    /// A set of survivors that leaves this site out, or is no subset of those who shared.
    #[error("the set of survivors is wrong: {why}")]
    Survivors {
        /// Why.
        why: &'static str,
    },
    /// Shares that do not add up to what was advertised.
    #[error("the shares of {pseudonym} do not give the secret it advertised")]
    Reveal {
        /// The owner of the secret.
        pseudonym: String,
    },
    /// An update that is not as long as the plan asks for, or with bits outside of the ring.
    #[error("a masked update is not made of the plan's ring elements")]
    Update,
    /// The operating system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
}

impl SecaggError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "CH1501",
            Self::Threshold { .. } => "CH1502",
            Self::Graph { .. } => "CH1503",
            Self::Roster { .. } => "CH1504",
            Self::Foreign { .. } => "CH1505",
            Self::Twice { .. } => "CH1506",
            Self::Signature { .. } => "CH1507",
            Self::Keys { .. } => "CH1508",
            Self::OwnKeys => "CH1509",
            Self::Replay { .. } => "CH1510",
            Self::Sealed { .. } => "CH1511",
            Self::Kind { .. } => "CH1512",
            Self::Survivors { .. } => "CH1513",
            Self::Reveal { .. } => "CH1514",
            Self::Update => "CH1515",
            Self::Randomness => "CH1516",
        }
    }
}
