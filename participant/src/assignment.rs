//! A task that a site has checked: signed by the coordinator, true to its recipe, allowed here.

use chancery_proto::secagg::Setting;
use chancery_proto::{BaseShape, Encoded, Plan, PrivacyMode, Recipe, Tensors, UpdateError, wire};
use chancery_provenance::Digest;

use crate::error::Error;
use crate::home::Home;
use crate::trainer::TrainJob;

/// One round's work at this site.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) lease: String,
    pub(crate) plan: Plan,
    pub(crate) plan_digest: Digest,
    pub(crate) recipe: Recipe,
    /// This site's place in the roster.
    pub(crate) number: usize,
    /// What this site is called in the round.
    pub(crate) pseudonym: String,
}

impl Assignment {
    /// Accepts a task or says why not. Nothing of it is used before the signature is checked.
    pub(crate) fn check(
        home: &Home,
        base_digest: &Digest,
        base_shape: &BaseShape,
        task: wire::Assignment,
    ) -> Result<Self, Error> {
        let refuse = |round: u32, why: &str| Error::Plan { round, why: why.to_owned() };
        let signed = Plan::signed_bytes(&task.plan);
        home.coordinator_key()
            .verify(&signed, &task.plan_signature)
            .map_err(|_| refuse(0, "it is not signed by the coordinator this site has joined"))?;
        let plan = Plan::from_json(&task.plan).map_err(|e| refuse(0, &e.to_string()))?;
        let round = plan.round;
        if Digest::of(&task.recipe).to_string() != plan.recipe_digest {
            return Err(refuse(round, "its recipe is not the one the plan names"));
        }
        let text = std::str::from_utf8(&task.recipe).map_err(|e| refuse(round, &e.to_string()))?;
        let recipe = Recipe::from_json(text).map_err(|e| refuse(round, &e.to_string()))?;
        if plan.base_digest != base_digest.to_string() {
            return Err(refuse(round, "it is for another base model than the one at this site"));
        }
        if plan.base_shape != *base_shape {
            return Err(refuse(round, "it gives the base model other dimensions"));
        }
        if let Some(field) = plan.departs_from(&recipe) {
            return Err(refuse(round, &format!("its {field} is not what its recipe gives")));
        }
        plan.ring.check_parameters()?;
        let own = home.key().public().ed25519_bytes();
        let number = plan.roster.iter().position(|member| Some(member.identity) == own);
        let number = number.ok_or_else(|| refuse(round, "this site's key is not in its roster"))?;
        let policy = home.policy()?;
        policy.check(&recipe, round)?;
        if policy.max_rank().is_some_and(|most| plan.adapter_of(number).rank > most as usize) {
            return Err(refuse(round, "it gives this site more ranks than its policy allows"));
        }
        policy.check_roster(&plan, own)?;
        let pseudonym = plan.pseudonyms().swap_remove(number);
        let plan_digest = Digest::of(&task.plan);
        let assignment = Self { lease: task.lease, plan_digest, plan, recipe, number, pseudonym };
        if assignment.is_masked() {
            assignment.setting().check()?;
        }
        Ok(assignment)
    }

    /// Whether nobody may see this site's update.
    pub(crate) fn is_masked(&self) -> bool {
        self.plan.mode == PrivacyMode::Masked
    }

    /// What secure aggregation goes by.
    pub(crate) fn setting(&self) -> Setting {
        self.plan.setting(*self.plan_digest.as_bytes())
    }

    /// The adapter that the run starts from.
    pub(crate) fn initial_adapter(&self) -> Result<Tensors, Error> {
        Ok(self.plan.adapter.initial(&self.plan.base_shape, self.recipe.training.seed)?)
    }

    /// What this site starts from, given the round's adapter.
    pub(crate) fn start(&self, adapter: &Tensors) -> Tensors {
        self.plan.start(self.number, adapter)
    }

    /// What the trainer is asked to do. A site's batches follow from the recipe's seed and its name.
    pub(crate) fn job(&self, site: &str) -> TrainJob {
        let seed = self.seed("batches", site);
        let [a, b, c, d, e, f, g, h, ..] = seed;
        TrainJob {
            adapter: self.plan.adapter_of(self.number),
            factors: self.plan.factors,
            training: self.recipe.training.clone(),
            round: self.plan.round,
            rounds: self.plan.rounds,
            site_seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// The change of the factors that trained, as the bytes that leave the site. `residual` is what earlier
    /// updates of the run kept back.
    pub(crate) fn encode(
        &self,
        before: &Tensors,
        after: &Tensors,
        residual: &mut Tensors,
        samples: u64,
        site: &str,
    ) -> Result<Encoded, Error> {
        let residual = self.recipe.codec.feedback.then_some(residual);
        let seed = self.seed("rounding", site);
        match self.plan.update(before, after, residual, samples, seed) {
            Ok(encoded) => Ok(encoded),
            Err(UpdateError::Tensor(error)) => Err(error.into()),
            Err(UpdateError::Codec(error)) => Err(error.into()),
        }
    }

    /// Seeds are public and repeatable: they decide batches and rounding, and protect nothing.
    fn seed(&self, purpose: &str, site: &str) -> [u8; 32] {
        let (seed, round) = (self.recipe.training.seed, self.plan.round);
        let text = format!("chancery-seed-v1\n{purpose}\n{seed}\n{site}\n{round}");
        *Digest::of(text.as_bytes()).as_bytes()
    }
}
