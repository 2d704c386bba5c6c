//! One run, as a value that can be stepped: who takes part, which round is on, how it ended.

use std::collections::BTreeMap;

use chancery_proto::{BaseShape, Moment, Plan, Recipe, Sketch, secagg};
use chancery_provenance::{Digest, PublicKey};
use serde::{Deserialize, Serialize};

use crate::error::Reject;
use crate::round::{Answer, Event, Phase, Round};

/// One run with all its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its name here.
    pub id: String,
    /// What was submitted.
    pub recipe: Recipe,
    /// Of the base model.
    pub base_shape: BaseShape,
    /// Where it is.
    pub state: RunState,
    /// Sites by name.
    pub members: BTreeMap<String, Member>,
    /// Rounds that are over.
    pub history: Vec<Round>,
    /// The newest adapter.
    pub adapter: String,
    /// What the server optimiser remembers, if it does.
    pub moments: Option<String>,
    /// When the first round began, milliseconds since 1970.
    pub started_at: u64,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunState {
    /// Submitted.
    Created,
    /// Waiting for its sites.
    Gathering,
    /// In a round.
    Running(Box<Round>),
    /// Being published.
    Publishing,
    /// Done.
    Succeeded {
        /// What the registry made of it.
        published: Option<Published>,
    },
    /// Over without an adapter.
    Failed {
        /// Why.
        why: String,
    },
    /// Ended by the operator.
    Stopped,
}

/// A version in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Of the release.
    pub digest: String,
}

/// A site that takes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name in this run.
    pub pseudonym: String,
    /// Its key (SPKI, PEM).
    pub key: String,
    /// The same key's 32 bytes, in hexadecimal.
    pub identity: String,
    /// Training examples.
    pub samples: u64,
    /// The most ranks it trains, if it said so.
    pub max_rank: Option<u32>,
    /// What it calls its task.
    pub task: String,
    /// Whether it knows that the run is over.
    pub told: bool,
}

impl Member {
    fn in_roster(&self) -> (secagg::Member, Option<u32>) {
        let mut identity = [0; 32];
        // It was written by `admit`; anything else gives a roster that no site agrees with.
        let _ = hex::decode_to_slice(&self.identity, &mut identity);
        (secagg::Member { pseudonym: self.pseudonym.clone(), identity }, self.max_rank)
    }
}

/// What a site says of itself when it asks for work.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its name.
    pub site: String,
    /// Its key (SPKI, PEM).
    pub key: String,
    /// Training examples.
    pub samples: u64,
    /// The most ranks it trains, if it said so.
    pub max_rank: Option<u32>,
    /// What it calls its task.
    pub task: String,
    /// The base model it holds.
    pub base_digest: String,
}

/// What a site is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// This run has nothing for the site.
    Nothing(&'static str),
    /// Do what the running round's phase asks for.
    Work {
        /// The lease.
        lease: String,
    },
    /// The run is over.
    Finished {
        /// In a word.
        outcome: &'static str,
        /// Digest, or why.
        detail: String,
    },
}

/// Random vectors a module that an inexact method's error is estimated with.
const PROBES: u32 = 8;

/// The longest name a site may give its task.
const TASK_LIMIT: usize = 64;

impl Run {
    /// A run that nobody has started.
    pub(crate) fn new(id: String, recipe: Recipe, base_shape: BaseShape, adapter: String) -> Self {
        Self {
            id,
            recipe,
            base_shape,
            state: RunState::Created,
            members: BTreeMap::new(),
            history: Vec::new(),
            adapter,
            moments: None,
            started_at: 0,
        }
    }

    /// The state in a word.
    pub(crate) fn state(&self) -> &'static str {
        match &self.state {
            RunState::Created => "created",
            RunState::Gathering => "gathering",
            RunState::Running(_) => "running",
            RunState::Publishing => "publishing",
            RunState::Succeeded { .. } => "succeeded",
            RunState::Failed { .. } => "failed",
            RunState::Stopped => "stopped",
        }
    }

    /// Whether nothing can happen any more, except that sites are told.
    pub(crate) fn is_over(&self) -> bool {
        matches!(
            self.state,
            RunState::Succeeded { .. } | RunState::Failed { .. } | RunState::Stopped
        )
    }

    /// Lets the run begin as soon as its sites are there.
    pub(crate) fn start(&mut self) -> Result<(), Reject> {
        match self.state {
            RunState::Created => self.state = RunState::Gathering,
            RunState::Gathering | RunState::Running(_) | RunState::Publishing => {}
            _ => {
                let why = "create a new one";
                return Err(Reject::State { state: self.state(), why });
            }
        }
        Ok(())
    }

    /// Ends the run now.
    pub(crate) fn stop(&mut self, at: u64) {
        if self.is_over() {
            return;
        }
        if let RunState::Running(round) = &self.state {
            let event = Event::Stop { why: "stopped by the operator".to_owned() };
            if let Ok(step) = round.as_ref().clone().apply(event, at) {
                self.history.push(step.round);
            }
        }
        self.state = RunState::Stopped;
    }

    /// A site asks for work; a new lease would be called `lease`.
    pub(crate) fn poll(
        &mut self,
        caller: &Caller,
        lease: String,
        at: u64,
    ) -> Result<Reply, Reject> {
        match &self.state {
            RunState::Gathering => {
                if self.recipe.base.digest.as_deref() != Some(&caller.base_digest) {
                    return Ok(Reply::Nothing("the run is for another base model"));
                }
                if caller.samples == 0 {
                    return Ok(Reply::Nothing("the site has no training examples"));
                }
                self.admit(caller)?;
                if self.members.len() < self.recipe.federation.sites as usize {
                    return Ok(Reply::Nothing("the run waits for more sites"));
                }
                self.started_at = at;
                self.next_round(at);
                self.poll(caller, lease, at)
            }
            RunState::Running(round) => {
                let Some(member) = self.members.get(&caller.site) else {
                    return Ok(Reply::Nothing("the run has begun without this site"));
                };
                let event = Event::TaskRequested { site: member.pseudonym.clone(), lease };
                if !round.asks(&member.pseudonym) {
                    return Ok(Reply::Nothing("the round goes on without this site"));
                }
                let step = round.as_ref().clone().apply(event, at)?;
                let reply = match step.answer {
                    Answer::Work(lease) => Reply::Work { lease },
                    _ => Reply::Nothing("the other sites are at work"),
                };
                self.state = RunState::Running(Box::new(step.round));
                Ok(reply)
            }
            RunState::Created | RunState::Publishing => Ok(Reply::Nothing("the run is not open")),
            RunState::Succeeded { published } => {
                let detail = published.as_ref().map_or(&self.adapter, |p| &p.digest).clone();
                Ok(self.tell(&caller.site, "succeeded", detail))
            }
            RunState::Failed { why } => {
                let why = why.clone();
                Ok(self.tell(&caller.site, "failed", why))
            }
            RunState::Stopped => {
                Ok(self.tell(&caller.site, "stopped", "by the operator".to_owned()))
            }
        }
    }

    fn tell(&mut self, site: &str, outcome: &'static str, detail: String) -> Reply {
        match self.members.get_mut(site) {
            Some(member) if !member.told => {
                member.told = true;
                Reply::Finished { outcome, detail }
            }
            _ => Reply::Nothing("the run is over"),
        }
    }

    fn admit(&mut self, caller: &Caller) -> Result<(), Reject> {
        let identity = PublicKey::from_pem(&caller.key)
            .ok()
            .and_then(|key| key.ed25519_bytes())
            .ok_or_else(|| Reject::Argument("a site needs an Ed25519 key".to_owned()))?;
        // Sites keep one pseudonym for a run, and have others in other runs.
        let digest = Digest::of(format!("{}\n{}", self.id, caller.key).as_bytes());
        let pseudonym = format!("site-{}", digest.hex().get(..8).unwrap_or_default());
        let task: String =
            caller.task.chars().filter(|c| !c.is_control()).take(TASK_LIMIT).collect();
        let member = Member {
            pseudonym,
            key: caller.key.clone(),
            identity: hex::encode(identity),
            samples: caller.samples,
            max_rank: caller.max_rank,
            task,
            told: false,
        };
        self.members.insert(caller.site.clone(), member);
        Ok(())
    }

    /// Begins the round after the last one.
    fn next_round(&mut self, at: u64) {
        let federation = &self.recipe.federation;
        let moment = Moment {
            run: self.id.clone(),
            round: self.history.len() as u32 + 1,
            base_shape: self.base_shape,
            adapter_digest: self.adapter.clone(),
            roster: self.members.values().map(Member::in_roster).collect(),
            samples: self.members.values().map(|member| member.samples).max().unwrap_or(1),
            sketch: self.sketch(),
        };
        let plan = Plan::new(&self.recipe, moment);
        let deadline = u64::from(federation.deadline_seconds) * 1000;
        let lease = u64::from(federation.lease_seconds) * 1000;
        self.state = RunState::Running(Box::new(Round::new(plan, deadline, lease, at)));
    }

    /// Probes for methods that are not exact, where it cannot be computed what they miss. Their range follows from the last round's answers.
    fn sketch(&self) -> Option<Sketch> {
        if !self.recipe.needs_probes() {
            return None;
        }
        let last = self.history.last().and_then(|round| match &round.phase {
            Phase::Succeeded { sum, .. } => sum.deviation.map(|found| found.largest),
            _ => None,
        });
        let range = last.filter(|most| *most > 0.0).map_or(1.0, |most| 4.0 * most);
        Some(Sketch { probes: PROBES, range })
    }

    /// The running round, if it is the one that was named.
    pub(crate) fn round(&self, number: u32) -> Result<&Round, Reject> {
        match &self.state {
            RunState::Running(round) if round.plan.round == number => Ok(round),
            _ => Err(Reject::Round { found: number }),
        }
    }

    /// Puts the running round back after a step.
    pub(crate) fn set_round(&mut self, round: Round) {
        self.state = RunState::Running(Box::new(round));
    }

    /// Moves on from a round whose receipt is stored, or that failed.
    pub(crate) fn advance(&mut self, at: u64) {
        let RunState::Running(round) = &self.state else { return };
        let round = round.as_ref().clone();
        match &round.phase {
            Phase::Succeeded { sum, .. } => {
                self.adapter.clone_from(&sum.adapter);
                self.moments.clone_from(&sum.moments);
                let last = round.plan.round == round.plan.rounds;
                self.history.push(round);
                if last {
                    self.state = RunState::Publishing;
                } else {
                    self.next_round(at);
                }
            }
            Phase::Failed { why, .. } => {
                let why = why.clone();
                self.history.push(round);
                self.state = RunState::Failed { why };
            }
            _ => {}
        }
    }
}
