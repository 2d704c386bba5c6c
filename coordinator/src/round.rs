//! One round, as a value that can be stepped. No clock, no randomness, no I/O: time and lease names
//! are arguments, and what must be done next can be read off the phase, so that a restarted
//! coordinator goes on by looking.
//!
//! ```text
//! trusted:  Training ----------------------------------------------------+
//! masked:   Advertising -> Sharing -> Masking -> Confirming -> Unmasking +-> Aggregating
//!                                                                              |
//!           Succeeded <- Evaluating <------------------------------------------+
//!
//! A step ends when everybody it asked has answered or got lost and enough have answered; past its
//! deadline without enough answers the round is Failed. So it is when it is stopped.
//! ```

mod phase;
mod stage;
#[cfg(test)]
mod tests;

use chancery_proto::secagg::{Advert, Confirmation};
use chancery_proto::{Plan, PrivacyMode};
use chancery_provenance::{Refusal, Traffic};
use serde::{Deserialize, Serialize};

use crate::error::Reject;
pub(crate) use phase::{
    BySite, Discarded, Keyed, Masked, Missed, Phase, Scores, Sealed, Sum, Update,
};
pub(crate) use stage::{Report, Stage, Work};

/// Refusals that one round keeps; a hostile site must not fill the database.
const REFUSAL_LIMIT: usize = 256;

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// What was decided.
    pub plan: Plan,
    /// Where it is.
    pub phase: Phase,
    /// What did not count.
    pub refusals: Vec<Refusal>,
    /// Bytes that crossed the sites' sockets.
    pub traffic: Traffic,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// How long each step may last.
    deadline_ms: u64,
    /// How long a site may be silent.
    lease_ms: u64,
}

/// What a site hands in.
#[derive(Clone, Debug)]
pub(crate) enum Handed {
    /// Its keys.
    Keys(Advert),
    /// Its sealed shares.
    Shares(Sealed),
    /// Its update.
    Update(Update),
    /// Its signature over the survivors.
    Confirmation(Confirmation),
    /// The shares it releases.
    Release(Sealed),
    /// Its figures.
    Scores(Scores),
}

/// Something that happened. Sites appear under their pseudonyms.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A site asks for work; a new lease would be called `lease`.
    TaskRequested { site: String, lease: String },
    /// A site is alive.
    Progress { site: String, lease: String, report: Report },
    /// Bytes of a site moved; it is alive, whatever the task.
    BytesMoved { site: String },
    /// A site hands in something that was checked.
    Handed { site: String, lease: String, handed: Handed },
    /// The sum is done.
    Aggregated { sum: Sum },
    /// Time passed.
    Tick,
    /// The round is to end.
    Stop { why: String },
}

/// What a step answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Do what the phase asks for, under this lease.
    Work(String),
    /// There is nothing to do for this site.
    Nothing,
    /// Recorded.
    Recorded,
    /// Known already.
    Known,
}

/// The round after an event, and the answer to whoever caused it.
#[derive(Debug)]
pub(crate) struct Step {
    /// The round.
    pub round: Round,
    /// The answer.
    pub answer: Answer,
}

impl Round {
    /// A round in which nobody has begun.
    pub(crate) fn new(plan: Plan, deadline_ms: u64, lease_ms: u64, at: u64) -> Self {
        let cohort = plan.pseudonyms();
        let phase = match plan.mode {
            PrivacyMode::Trusted => {
                Phase::Training { stage: Stage::open(&cohort, at, at + lease_ms) }
            }
            PrivacyMode::Masked => {
                Phase::Advertising { stage: Stage::open(&cohort, at, at + lease_ms) }
            }
        };
        let (refusals, traffic) = (Vec::new(), Traffic::default());
        Self { plan, phase, refusals, traffic, started_at: at, deadline_ms, lease_ms }
    }

    /// When the round must be looked at again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.phase.leases().map(|leases| leases.next(self.deadline_ms))
    }

    /// Keeps a message that did not count; beyond a limit only the first ones are kept.
    pub(crate) fn refuse(&mut self, pseudonym: &str, reject: &Reject) {
        if self.refusals.len() < REFUSAL_LIMIT {
            self.refusals.push(Refusal {
                pseudonym: pseudonym.to_owned(),
                code: reject.code().to_owned(),
                reason: reject.to_string(),
            });
        }
    }

    /// Whether the step that is on asks for something of this site. Who got lost in an earlier step of
    /// a masked round is not asked again.
    pub(crate) fn asks(&self, site: &str) -> bool {
        self.phase.leases().is_some_and(|leases| leases.includes(site))
    }

    /// Whether so much of the site's lease is used up that it is worth writing down that it lives.
    pub(crate) fn wants_news(&self, site: &str, at: u64) -> bool {
        self.leased_until(site).is_some_and(|until| until < at + self.lease_ms / 2)
    }

    /// Until when the site has a lease, if it has one.
    pub(crate) fn leased_until(&self, site: &str) -> Option<u64> {
        self.phase.leases()?.leased_until(site)
    }

    /// A site whose message was refused has no lease any more; it may ask for the task again.
    pub(crate) fn drop_lease(&mut self, site: &str) {
        if let Some(leases) = self.phase.leases_mut() {
            leases.forfeit(site);
        }
    }

    /// Takes one event at the time `at`.
    pub(crate) fn apply(mut self, event: Event, at: u64) -> Result<Step, Reject> {
        let until = at + self.lease_ms;
        let late = Reject::TooLate { phase: self.phase.name() };
        let answer = match event {
            Event::TaskRequested { site, lease } => {
                let leases = self.phase.leases_mut();
                match leases.map(|leases| leases.grant(&site, &lease, until)).transpose()? {
                    Some(true) => Answer::Work(lease),
                    _ => Answer::Nothing,
                }
            }
            Event::Progress { site, lease, report } => {
                self.phase.leases_mut().ok_or(late)?.renew(&site, &lease, report, until)?;
                Answer::Recorded
            }
            Event::BytesMoved { site } => {
                self.phase.leases_mut().ok_or(late)?.prolong(&site, until)?;
                Answer::Recorded
            }
            Event::Handed { site, lease, handed } => self.take(&site, &lease, handed)?,
            Event::Aggregated { sum } => match self.phase {
                Phase::Aggregating { updates, .. } => {
                    let stage = Stage::open(&self.plan.pseudonyms(), at, until);
                    self.phase = Phase::Evaluating { updates, sum, stage };
                    Answer::Recorded
                }
                _ => Answer::Known,
            },
            Event::Tick => Answer::Nothing,
            Event::Stop { why } => {
                if !matches!(self.phase, Phase::Succeeded { .. } | Phase::Failed { .. }) {
                    self.phase = Phase::Failed { why, finished_at: at };
                }
                Answer::Recorded
            }
        };
        if let Some(leases) = self.phase.leases_mut() {
            leases.expire(at);
        }
        self.close(at);
        Ok(Step { round: self, answer })
    }

    /// Takes what a site hands in. What it handed in before is known, when it is the same.
    fn take(&mut self, site: &str, lease: &str, handed: Handed) -> Result<Answer, Reject> {
        let late = Reject::TooLate { phase: self.phase.name() };
        match (&mut self.phase, handed) {
            (Phase::Advertising { stage }, Handed::Keys(keys)) => {
                once(stage.take(site, lease, keys.clone())?, &keys)
            }
            (Phase::Sharing { stage, .. }, Handed::Shares(shares)) => {
                once(stage.take(site, lease, shares.clone())?, &shares)
            }
            (Phase::Training { stage } | Phase::Masking { stage, .. }, Handed::Update(update)) => {
                match stage.take(site, lease, update.clone())? {
                    Ok(()) => Ok(Answer::Recorded),
                    Err(before) if before.digest == update.digest => Ok(Answer::Known),
                    Err(_) => Err(Reject::Another),
                }
            }
            (Phase::Confirming { stage, .. }, Handed::Confirmation(signed)) => {
                once(stage.take(site, lease, signed.clone())?, &signed)
            }
            (Phase::Unmasking { stage, .. }, Handed::Release(release)) => {
                once(stage.take(site, lease, release.clone())?, &release)
            }
            (Phase::Evaluating { stage, .. }, Handed::Scores(scores)) => stage
                .take(site, lease, scores)?
                .map_or(Ok(Answer::Known), |()| Ok(Answer::Recorded)),
            // A site whose answer got lost says it again; that is nothing to hold against it.
            (phase, Handed::Update(update)) => {
                match phase.updates().and_then(|all| all.get(site)) {
                    Some(counted) if counted.digest == update.digest => Ok(Answer::Known),
                    Some(_) => Err(Reject::Another),
                    None => Err(late),
                }
            }
            (phase, handed) if phase.holds(site, &handed) => Ok(Answer::Known),
            _ => Err(late),
        }
    }

    /// Moves on when a step has what it needs, or no time left.
    fn close(&mut self, at: u64) {
        let until = at + self.lease_ms;
        let next = match &self.phase {
            Phase::Training { stage } => self
                .after(stage, at)
                .map(|enough| enough.map(|updates| Phase::Aggregating { updates, masked: None })),
            Phase::Advertising { stage } => self.after(stage, at).map(|enough| {
                enough.map(|adverts| {
                    let stage = Stage::open(adverts.keys(), at, until);
                    Phase::Sharing { adverts, stage }
                })
            }),
            Phase::Sharing { adverts, stage } => self.after(stage, at).map(|enough| {
                enough.map(|shares| {
                    let stage = Stage::open(shares.keys(), at, until);
                    Phase::Masking { keyed: Keyed { adverts: adverts.clone(), shares }, stage }
                })
            }),
            Phase::Masking { keyed, stage } => self.after(stage, at).map(|enough| {
                enough.map(|updates| {
                    let stage = Stage::open(updates.keys(), at, until);
                    Phase::Confirming { keyed: keyed.clone(), updates, stage }
                })
            }),
            Phase::Confirming { keyed, updates, stage } => self.after(stage, at).map(|enough| {
                enough.map(|confirmations| {
                    let stage = Stage::open(confirmations.keys(), at, until);
                    let (keyed, updates) = (keyed.clone(), updates.clone());
                    Phase::Unmasking { keyed, updates, confirmations, stage }
                })
            }),
            Phase::Unmasking { keyed, updates, confirmations, stage } => {
                self.after(stage, at).map(|enough| {
                    enough.map(|releases| {
                        let (keyed, confirmations) = (keyed.clone(), confirmations.clone());
                        let masked = Masked { keyed, confirmations, releases };
                        let (updates, masked) = (updates.clone(), Some(Box::new(masked)));
                        Phase::Aggregating { updates, masked }
                    })
                })
            }
            Phase::Evaluating { updates, sum, stage } => {
                let scores = stage.collect();
                let over = stage.is_settled() && !scores.is_empty();
                (over || stage.is_overdue(at, self.deadline_ms)).then(|| {
                    let (updates, sum) = (updates.clone(), sum.clone());
                    Ok(Phase::Succeeded { updates, sum, scores, finished_at: at })
                })
            }
            Phase::Aggregating { .. } | Phase::Succeeded { .. } | Phase::Failed { .. } => None,
        };
        match next {
            Some(Ok(phase)) => self.phase = phase,
            Some(Err(why)) => self.phase = Phase::Failed { why, finished_at: at },
            None => {}
        }
    }

    /// What a step gave, once it is over; or why the round fails.
    fn after<T: Clone>(&self, stage: &Stage<T>, at: u64) -> Option<Result<BySite<T>, String>> {
        let answers = stage.collect();
        let (answered, needed) = (answers.len(), self.needed());
        let overdue = stage.is_overdue(at, self.deadline_ms);
        if answered >= needed && (stage.is_settled() || overdue) {
            return Some(Ok(answers));
        }
        overdue.then(|| {
            let (round, step) = (self.plan.round, self.phase.name());
            Err(format!("round {round}: {answered} of the {needed} answers it needs came before the deadline ({step})"))
        })
    }

    /// Answers without which a step cannot end well. Updates need the quorum; what only opens the sum
    /// needs the threshold.
    fn needed(&self) -> usize {
        match self.phase {
            Phase::Confirming { .. } | Phase::Unmasking { .. } => self.plan.threshold as usize,
            _ => self.plan.quorum.max(self.plan.threshold) as usize,
        }
    }
}

impl Phase {
    /// Whether a later phase holds exactly this, handed in by this site.
    fn holds(&self, site: &str, handed: &Handed) -> bool {
        let keyed = match self {
            Self::Masking { keyed, .. }
            | Self::Confirming { keyed, .. }
            | Self::Unmasking { keyed, .. } => Some(keyed),
            Self::Aggregating { masked: Some(masked), .. } => Some(&masked.keyed),
            _ => None,
        };
        match (self, handed) {
            (Self::Sharing { adverts, .. }, Handed::Keys(keys)) => adverts.get(site) == Some(keys),
            (_, Handed::Keys(keys)) => keyed.is_some_and(|k| k.adverts.get(site) == Some(keys)),
            (_, Handed::Shares(shares)) => {
                keyed.is_some_and(|keyed| keyed.shares.get(site) == Some(shares))
            }
            (Self::Unmasking { confirmations, .. }, Handed::Confirmation(signed)) => {
                confirmations.get(site) == Some(signed)
            }
            // What opened the sum is gone after it; a site that says it again has nothing to fear.
            (Self::Aggregating { masked: Some(masked), .. }, Handed::Release(release)) => {
                masked.releases.get(site) == Some(release)
            }
            (
                Self::Evaluating { updates, .. } | Self::Succeeded { updates, .. },
                Handed::Release(_),
            ) => updates.contains_key(site),
            (Self::Succeeded { scores, .. }, Handed::Scores(_)) => scores.contains_key(site),
            _ => false,
        }
    }
}

/// The answer to something that may be said once, and then only repeated.
fn once<T: PartialEq>(taken: Result<(), &T>, value: &T) -> Result<Answer, Reject> {
    match taken {
        Ok(()) => Ok(Answer::Recorded),
        Err(before) if before == value => Ok(Answer::Known),
        Err(_) => Err(Reject::Another),
    }
}
