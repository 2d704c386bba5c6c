//! One round, as a value that can be stepped. No clock, no randomness, no I/O: time and lease names
//! are arguments, and what must be done next can be read off the phase, so that a restarted
//! coordinator goes on by looking.
//!
//! ```text
//! Training --(all in or lost, quorum met)--> Aggregating --> Evaluating --> Succeeded
//!    |                                                           (all in or lost, or deadline)
//!    +--(deadline, quorum not met; stop)--> Failed
//! ```

use std::collections::BTreeMap;

use chancery_proto::Plan;
use chancery_provenance::{Refusal, Score, Traffic};
use serde::{Deserialize, Serialize};

use crate::error::Reject;

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
    /// Payload bytes.
    pub traffic: Traffic,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// How long each of the two working phases may last.
    deadline_ms: u64,
    /// How long a site may be silent.
    lease_ms: u64,
}

/// Where a round is; each phase holds only its own data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Sites train.
    Training {
        /// By pseudonym.
        sites: BTreeMap<String, Work<Update>>,
    },
    /// The coordinator sums.
    Aggregating {
        /// By pseudonym.
        updates: BTreeMap<String, Update>,
    },
    /// Sites score the new adapter.
    Evaluating {
        /// By pseudonym.
        updates: BTreeMap<String, Update>,
        /// The new adapter.
        adapter: String,
        /// By pseudonym.
        sites: BTreeMap<String, Work<Scores>>,
        /// When scoring began.
        since: u64,
    },
    /// Done.
    Succeeded {
        /// By pseudonym.
        updates: BTreeMap<String, Update>,
        /// The new adapter.
        adapter: String,
        /// By pseudonym.
        scores: BTreeMap<String, Scores>,
        /// Milliseconds since 1970.
        finished_at: u64,
    },
    /// Over without an adapter.
    Failed {
        /// Why.
        why: String,
        /// Milliseconds since 1970.
        finished_at: u64,
    },
}

/// One site's task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work<T> {
    /// Not asked for yet; lost when nobody asks until then.
    Open {
        /// Milliseconds since 1970.
        until: u64,
    },
    /// Being done.
    Leased {
        /// The lease's name.
        lease: String,
        /// Milliseconds since 1970.
        until: u64,
        /// The latest report.
        report: Report,
    },
    /// Silent for longer than a lease; it may come back while the phase is open.
    Lost,
    /// Handed in.
    Done(T),
}

/// A site's latest report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Optimiser step.
    pub step: u32,
    /// Of how many.
    pub steps: u32,
    /// Tokens a second.
    pub tokens_per_second: f64,
}

/// An update that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    /// Of the packed bytes.
    pub digest: String,
    /// Of the training statement's bundle.
    pub statement: String,
    /// The last step's loss.
    pub loss: f64,
    /// Relative error of quantisation.
    pub quantisation_error: f64,
}

/// A site's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    /// With the round's adapter.
    pub adapter: Score,
    /// Without one.
    pub base: Option<Score>,
}

/// Something that happened. Sites appear under their pseudonyms.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A site asks for work; a new lease would be called `lease`.
    TaskRequested {
        /// The site.
        site: String,
        /// The new lease's name.
        lease: String,
    },
    /// A site is alive.
    Progress {
        /// The site.
        site: String,
        /// Its lease.
        lease: String,
        /// What it reports.
        report: Report,
    },
    /// Bytes of a site moved; it is alive, whatever the task.
    BytesMoved {
        /// The site.
        site: String,
    },
    /// A site hands in an update that was checked.
    UpdateSubmitted {
        /// The site.
        site: String,
        /// Its lease.
        lease: String,
        /// The update.
        update: Update,
    },
    /// The sum is done.
    Aggregated {
        /// The new adapter.
        adapter: String,
    },
    /// A site hands in its figures.
    EvaluationSubmitted {
        /// The site.
        site: String,
        /// Its lease.
        lease: String,
        /// The figures.
        scores: Scores,
    },
    /// Time passed.
    Tick,
    /// The round is to end.
    Stop {
        /// Why.
        why: String,
    },
}

/// What a step answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Train under this lease.
    Train(String),
    /// Evaluate under this lease.
    Evaluate(String),
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
        let phase = Phase::Training { sites: open(&plan, at + lease_ms) };
        let (refusals, traffic) = (Vec::new(), Traffic::default());
        Self { plan, phase, refusals, traffic, started_at: at, deadline_ms, lease_ms }
    }

    /// When the round must be looked at again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<u64> {
        fn next<T>(sites: &BTreeMap<String, Work<T>>, end: u64) -> u64 {
            let leases = sites.values().filter_map(|work| match work {
                Work::Open { until } | Work::Leased { until, .. } => Some(*until),
                Work::Lost | Work::Done(_) => None,
            });
            leases.min().unwrap_or(end).min(end)
        }
        match &self.phase {
            Phase::Training { sites } => Some(next(sites, self.started_at + self.deadline_ms)),
            Phase::Evaluating { sites, since, .. } => Some(next(sites, since + self.deadline_ms)),
            Phase::Aggregating { .. } | Phase::Succeeded { .. } | Phase::Failed { .. } => None,
        }
    }

    /// The phase in a word.
    pub(crate) fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Training { .. } => "training",
            Phase::Aggregating { .. } => "aggregating",
            Phase::Evaluating { .. } => "evaluating",
            Phase::Succeeded { .. } => "succeeded",
            Phase::Failed { .. } => "failed",
        }
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

    /// Takes one event at the time `at`.
    pub(crate) fn apply(mut self, event: Event, at: u64) -> Result<Step, Reject> {
        let until = at + self.lease_ms;
        let answer = match event {
            Event::TaskRequested { site, lease } => self.give(&site, lease, until)?,
            Event::Progress { site, lease, report } => {
                match &mut self.phase {
                    Phase::Training { sites } => renew(sites, &site, &lease, report, until)?,
                    Phase::Evaluating { sites, .. } => renew(sites, &site, &lease, report, until)?,
                    _ => return Err(Reject::TooLate { phase: self.state() }),
                }
                Answer::Recorded
            }
            Event::BytesMoved { site } => {
                match &mut self.phase {
                    Phase::Training { sites } => prolong(sites, &site, until)?,
                    Phase::Evaluating { sites, .. } => prolong(sites, &site, until)?,
                    _ => return Err(Reject::TooLate { phase: self.state() }),
                }
                Answer::Recorded
            }
            Event::UpdateSubmitted { site, lease, update } => {
                self.take_update(&site, &lease, update)?
            }
            Event::Aggregated { adapter } => match self.phase {
                Phase::Aggregating { updates } => {
                    let sites = open(&self.plan, until);
                    self.phase = Phase::Evaluating { updates, adapter, sites, since: at };
                    Answer::Recorded
                }
                _ => Answer::Known,
            },
            Event::EvaluationSubmitted { site, lease, scores } => {
                self.take_scores(&site, &lease, scores)?
            }
            Event::Tick => Answer::Nothing,
            Event::Stop { why } => {
                if !matches!(self.phase, Phase::Succeeded { .. } | Phase::Failed { .. }) {
                    self.phase = Phase::Failed { why, finished_at: at };
                }
                Answer::Recorded
            }
        };
        self.expire(at);
        self.close(at);
        Ok(Step { round: self, answer })
    }

    fn give(&mut self, site: &str, lease: String, until: u64) -> Result<Answer, Reject> {
        let given = lease.clone();
        let granted = match &mut self.phase {
            Phase::Training { sites } => grant(sites, site, lease, until)?,
            Phase::Evaluating { sites, .. } => grant(sites, site, lease, until)?,
            _ => false,
        };
        Ok(match (&self.phase, granted) {
            (Phase::Training { .. }, true) => Answer::Train(given),
            (Phase::Evaluating { .. }, true) => Answer::Evaluate(given),
            _ => Answer::Nothing,
        })
    }

    fn take_update(&mut self, site: &str, lease: &str, update: Update) -> Result<Answer, Reject> {
        let known = |counted: &Update| {
            if counted.digest == update.digest { Ok(Answer::Known) } else { Err(Reject::Another) }
        };
        match &mut self.phase {
            Phase::Training { sites } => match sites.get_mut(site).ok_or(Reject::Foreign)? {
                Work::Done(counted) => known(counted),
                work => {
                    held(work, lease)?;
                    *work = Work::Done(update);
                    Ok(Answer::Recorded)
                }
            },
            Phase::Aggregating { updates }
            | Phase::Evaluating { updates, .. }
            | Phase::Succeeded { updates, .. } => match updates.get(site) {
                Some(counted) => known(counted),
                None => Err(Reject::TooLate { phase: self.state() }),
            },
            Phase::Failed { .. } => Err(Reject::TooLate { phase: self.state() }),
        }
    }

    fn take_scores(&mut self, site: &str, lease: &str, scores: Scores) -> Result<Answer, Reject> {
        match &mut self.phase {
            Phase::Evaluating { sites, .. } => match sites.get_mut(site).ok_or(Reject::Foreign)? {
                Work::Done(_) => Ok(Answer::Known),
                work => {
                    held(work, lease)?;
                    *work = Work::Done(scores);
                    Ok(Answer::Recorded)
                }
            },
            // A site whose answer got lost says it again; that is nothing to hold against it.
            Phase::Succeeded { scores, .. } if scores.contains_key(site) => Ok(Answer::Known),
            _ => Err(Reject::TooLate { phase: self.state() }),
        }
    }

    /// Whether the site has a lease, and until when.
    pub(crate) fn leased_until(&self, site: &str) -> Option<u64> {
        fn end<T>(sites: &BTreeMap<String, Work<T>>, site: &str) -> Option<u64> {
            match sites.get(site) {
                Some(Work::Leased { until, .. }) => Some(*until),
                _ => None,
            }
        }
        match &self.phase {
            Phase::Training { sites } => end(sites, site),
            Phase::Evaluating { sites, .. } => end(sites, site),
            _ => None,
        }
    }

    /// Whether so much of the site's lease is used up that it is worth writing down that it lives.
    pub(crate) fn wants_news(&self, site: &str, at: u64) -> bool {
        self.leased_until(site).is_some_and(|until| until < at + self.lease_ms / 2)
    }

    /// A site whose update was refused has no lease any more; it may ask for the task again.
    pub(crate) fn drop_lease(&mut self, site: &str) {
        if let Phase::Training { sites } = &mut self.phase
            && let Some(work @ Work::Leased { .. }) = sites.get_mut(site)
        {
            *work = Work::Lost;
        }
    }

    /// Gives up what was silent for too long.
    fn expire(&mut self, at: u64) {
        fn lose<T>(sites: &mut BTreeMap<String, Work<T>>, at: u64) {
            for work in sites.values_mut() {
                if let Work::Open { until } | Work::Leased { until, .. } = work
                    && *until <= at
                {
                    *work = Work::Lost;
                }
            }
        }
        match &mut self.phase {
            Phase::Training { sites } => lose(sites, at),
            Phase::Evaluating { sites, .. } => lose(sites, at),
            _ => {}
        }
    }

    /// Moves on when a phase has what it needs, or no time left.
    fn close(&mut self, at: u64) {
        let overdue = |since: u64| at >= since + self.deadline_ms;
        match &self.phase {
            Phase::Training { sites } => {
                let updates = done(sites);
                let settled = sites.values().all(|w| matches!(w, Work::Done(_) | Work::Lost));
                let enough = updates.len() >= self.plan.quorum as usize;
                if enough && (settled || overdue(self.started_at)) {
                    self.phase = Phase::Aggregating { updates };
                } else if overdue(self.started_at) {
                    let why = format!(
                        "round {}: {} of the {} updates it needs came before the deadline",
                        self.plan.round,
                        updates.len(),
                        self.plan.quorum
                    );
                    self.phase = Phase::Failed { why, finished_at: at };
                }
            }
            Phase::Evaluating { updates, adapter, sites, since } => {
                let scores = done(sites);
                let settled = sites.values().all(|w| matches!(w, Work::Done(_) | Work::Lost));
                if (settled && !scores.is_empty()) || overdue(*since) {
                    self.phase = Phase::Succeeded {
                        updates: updates.clone(),
                        adapter: adapter.clone(),
                        scores,
                        finished_at: at,
                    };
                }
            }
            _ => {}
        }
    }
}

fn open<T>(plan: &Plan, until: u64) -> BTreeMap<String, Work<T>> {
    plan.roster.iter().map(|site| (site.clone(), Work::Open { until })).collect()
}

fn done<T: Clone>(sites: &BTreeMap<String, Work<T>>) -> BTreeMap<String, T> {
    sites
        .iter()
        .filter_map(|(site, work)| match work {
            Work::Done(value) => Some((site.clone(), value.clone())),
            _ => None,
        })
        .collect()
}

/// Leases the site's task; a site that asks again has forgotten its lease and gets a new one.
fn grant<T>(
    sites: &mut BTreeMap<String, Work<T>>,
    site: &str,
    lease: String,
    until: u64,
) -> Result<bool, Reject> {
    match sites.get_mut(site).ok_or(Reject::Foreign)? {
        Work::Done(_) => Ok(false),
        work => {
            *work = Work::Leased { lease, until, report: Report::default() };
            Ok(true)
        }
    }
}

fn renew<T>(
    sites: &mut BTreeMap<String, Work<T>>,
    site: &str,
    lease: &str,
    news: Report,
    end: u64,
) -> Result<(), Reject> {
    match sites.get_mut(site).ok_or(Reject::Foreign)? {
        Work::Leased { lease: held, until, report } if held == lease => {
            (*until, *report) = (end, news);
            Ok(())
        }
        _ => Err(Reject::Lease),
    }
}

fn prolong<T>(sites: &mut BTreeMap<String, Work<T>>, site: &str, end: u64) -> Result<(), Reject> {
    match sites.get_mut(site).ok_or(Reject::Foreign)? {
        Work::Leased { until, .. } => {
            *until = end;
            Ok(())
        }
        _ => Err(Reject::Lease),
    }
}

fn held<T>(work: &Work<T>, lease: &str) -> Result<(), Reject> {
    match work {
        Work::Leased { lease: held, .. } if held == lease => Ok(()),
        _ => Err(Reject::Lease),
    }
}

#[cfg(test)]
mod tests;
