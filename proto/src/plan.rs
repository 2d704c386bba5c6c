//! The round plan: what every site must know, and agree on, before it trains.
//!
//! The coordinator signs the plan's JSON with its Ed25519 key; a site acts on nothing else.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::adapter::{AdapterConfig, AdapterError, BaseShape, Factors};
use crate::aggregation::{Rule, ServerOptimiser};
use crate::codec::Ring;
use crate::recipe::{Method, PrivacyMode, Recipe};
use crate::secagg::{Member, Setting};
use crate::sketch::{Deviation, Sketch};
use crate::sparsity::Places;
use crate::tensor::Tensors;

/// What a signature over a plan covers in front of the plan's bytes.
pub const PLAN_CONTEXT: &[u8] = b"chancery-plan-v1\n";

/// One round, as the coordinator decided it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// The run.
    pub run: String,
    /// The round, from 1.
    pub round: u32,
    /// Rounds of the run.
    pub rounds: u32,
    /// Digest of the recipe's JSON.
    pub recipe_digest: String,
    /// Digest of the base model.
    pub base_digest: String,
    /// The base model's dimensions.
    pub base_shape: BaseShape,
    /// The adapter's rank, scale and modules.
    pub adapter: AdapterConfig,
    /// Digest of the adapter this round starts from.
    pub adapter_digest: String,
    /// Which factors train in which round.
    pub method: Method,
    /// The factors that train.
    pub factors: Factors,
    /// The rank that each site of the roster trains, where they may differ; none where they may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<u32>,
    /// Who can see an update.
    pub mode: PrivacyMode,
    /// How an update becomes bytes.
    pub ring: Ring,
    /// The share of the numbers that train which travels in this round.
    pub density: f32,
    /// The cohort, sorted by pseudonym.
    pub roster: Vec<Member>,
    /// Updates the round needs.
    pub quorum: u32,
    /// Sites that must answer to open a masked sum; 0 in trusted rounds.
    pub threshold: u32,
    /// How many updates become one.
    pub aggregation: Rule,
    /// How far the adapter goes along it.
    pub optimiser: ServerOptimiser,
    /// How an inexact method's error is estimated; none where the method is exact.
    pub sketch: Option<Sketch>,
}

/// How sites that hold a round's adapter come by the next one. Others download it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downlink {
    /// Out of the packed sum: the adapter follows from it, since it is the mean and the server remembers
    /// nothing.
    Sum,
    /// By a byte a number: the server knows more than the sites.
    Change,
    /// Whole, in bfloat16: every number is another.
    Halves,
}

/// What a plan says beyond its recipe.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The run.
    pub run: String,
    /// The round, from 1.
    pub round: u32,
    /// The base model's dimensions.
    pub base_shape: BaseShape,
    /// Digest of the adapter that the round starts from.
    pub adapter_digest: String,
    /// The cohort in any order, each with the most ranks it can train, if it said so.
    pub roster: Vec<(Member, Option<u32>)>,
    /// Examples of the largest site.
    pub samples: u64,
    /// How an inexact method's error is estimated.
    pub sketch: Option<Sketch>,
}

impl Plan {
    /// The plan that a recipe gives at this moment.
    pub fn new(recipe: &Recipe, moment: Moment) -> Self {
        let Moment { run, round, base_shape, adapter_digest, mut roster, samples, sketch } = moment;
        let (federation, codec) = (&recipe.federation, &recipe.codec);
        roster.sort_by(|(one, _), (other, _)| one.pseudonym.cmp(&other.pseudonym));
        let (roster, ranks): (Vec<Member>, Vec<Option<u32>>) = roster.into_iter().unzip();
        let whole = recipe.adapter.rank as u32;
        let ranks = match federation.method {
            Method::Stack => {
                ranks.iter().map(|most| most.map_or(whole, |most| most.clamp(1, whole))).collect()
            }
            _ => Vec::new(),
        };
        let clip = codec.clip * recipe.training.fraction(round, federation.rounds);
        // The largest site weighs 1, so that no precision is lost to a cap that nobody reaches.
        let cap = samples.clamp(1, u64::from(codec.max_samples)) as u32;
        Self {
            run,
            round,
            rounds: federation.rounds,
            recipe_digest: recipe.digest(),
            base_digest: recipe.base.digest.clone().unwrap_or_default(),
            base_shape,
            adapter: recipe.adapter.clone(),
            adapter_digest,
            method: federation.method,
            factors: federation.method.factors(round),
            ranks,
            mode: recipe.privacy.mode,
            ring: Ring::for_cohort(codec.bits, clip, cap, roster.len() as u32),
            density: codec.density,
            roster,
            quorum: federation.quorum,
            threshold: recipe.threshold(),
            aggregation: federation.aggregation,
            optimiser: federation.optimiser,
            sketch,
        }
    }

    /// The first field in which the plan is not the one that its recipe gives at its moment.
    pub fn departs_from(&self, recipe: &Recipe) -> Option<String> {
        let ranks = (0..self.roster.len()).map(|site| self.ranks.get(site).copied());
        let moment = Moment {
            run: self.run.clone(),
            round: self.round,
            base_shape: self.base_shape,
            adapter_digest: self.adapter_digest.clone(),
            roster: self.roster.iter().cloned().zip(ranks).collect(),
            samples: u64::from(self.ring.weight_cap),
            sketch: self.sketch,
        };
        let fields = |plan: &Self| match serde_json::to_value(plan) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        // Probes are asked where the method needs them, and few enough.
        let asked = self
            .sketch
            .map_or(!recipe.needs_probes(), |sketch| recipe.needs_probes() && sketch.is_sound());
        if !asked {
            return Some("sketch".to_owned());
        }
        let wanted = fields(&Self::new(recipe, moment));
        let mut found = fields(self).into_iter();
        found.find(|(name, value)| wanted.get(name) != Some(value)).map(|(name, _)| name)
    }

    /// The bytes that are signed and sent.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a plan; the signature is the caller's to check first.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The message that is signed: context, then the plan's bytes.
    pub fn signed_bytes(plan_json: &[u8]) -> Vec<u8> {
        [PLAN_CONTEXT, plan_json].concat()
    }

    /// Names and shapes of the tensors that train, in the order of the update.
    pub fn layout(&self) -> Vec<(String, [usize; 2])> {
        self.layout_with(&self.adapter)
    }

    /// The same for the site at this place of the roster.
    pub fn layout_of(&self, site: usize) -> Vec<(String, [usize; 2])> {
        self.layout_with(&self.adapter_of(site))
    }

    fn layout_with(&self, adapter: &AdapterConfig) -> Vec<(String, [usize; 2])> {
        let mut layout = adapter.layout(&self.base_shape);
        layout.retain(|(name, _)| self.factors.trains_tensor(name));
        layout
    }

    /// The elements of an update, without its weight: numbers that trained, then answers to probes.
    pub fn elements(&self) -> usize {
        let probed = self.sketch.map_or(0, |s| s.elements(&self.adapter, &self.base_shape));
        self.sent_elements() + probed
    }

    /// What the site at this place of the roster trains. Fewer ranks keep their scale, so that products of
    /// any rank count alike.
    pub fn adapter_of(&self, site: usize) -> AdapterConfig {
        let mut adapter = self.adapter.clone();
        if let Some(rank) = self.ranks.get(site) {
            let rank = *rank as usize;
            adapter.alpha = adapter.alpha * rank as f32 / adapter.rank as f32;
            adapter.rank = rank;
        }
        adapter
    }

    /// The elements of the update of the site at this place of the roster.
    pub fn elements_of(&self, site: usize) -> usize {
        match self.ranks.get(site) {
            // Each rank is a row of A and a column of B.
            Some(rank) => self.trained_elements() / self.adapter.rank * *rank as usize,
            None => self.elements(),
        }
    }

    /// Numbers that train and travel.
    fn sent_elements(&self) -> usize {
        let trained = self.trained_elements();
        ((trained as f64 * f64::from(self.density)).ceil() as usize).min(trained)
    }

    /// The places of the numbers that travel; none when all do.
    pub fn places(&self) -> Option<Places> {
        (self.density < 1.0).then(|| {
            let seed = self.public_seed("places");
            Places::new(seed, self.trained_elements(), self.sent_elements())
        })
    }

    /// What travels of numbers that trained.
    pub fn select<'a>(&self, trained: &'a [f32]) -> Cow<'a, [f32]> {
        match self.places() {
            Some(places) => Cow::Owned(places.gather(trained)),
            None => Cow::Borrowed(trained),
        }
    }

    /// Numbers that train, out of an update's elements; those that did not travel are 0.
    pub fn expand<'a>(&self, sent: &'a [f32]) -> Cow<'a, [f32]> {
        match self.places() {
            Some(places) => Cow::Owned(places.scatter(sent)),
            None => Cow::Borrowed(sent.get(..self.trained_elements()).unwrap_or(sent)),
        }
    }

    /// Numbers that train.
    pub fn trained_elements(&self) -> usize {
        self.layout().iter().map(|(_, [rows, columns])| rows * columns).sum()
    }

    /// An adapter's answers to this round's probes, scaled so that their range is what gets clipped.
    pub fn answers(&self, adapter: &Tensors) -> Vec<f32> {
        let Some(sketch) = &self.sketch else { return Vec::new() };
        let answers =
            sketch.answers(&self.adapter, &self.base_shape, &self.public_seed("probes"), adapter);
        let scale = self.ring.clip / sketch.range;
        answers.into_iter().map(|answer| answer * scale).collect()
    }

    /// The error of the mean `after`, given the mean of what the sites sent. Also the largest answer, in
    /// its own scale.
    pub fn deviation(&self, sent: &[f32], after: &Tensors) -> Option<(Deviation, f32)> {
        let sketch = self.sketch.as_ref()?;
        let ideal = sent.get(self.sent_elements()..)?;
        let made = self.answers(after);
        let found = sketch.deviation(&self.adapter, &self.base_shape, ideal, &made)?;
        let largest = ideal.iter().fold(0f32, |most, answer| most.max(answer.abs()));
        Some((found, largest * sketch.range / self.ring.clip))
    }

    /// Factors for directions that an adapter lacks.
    pub(crate) fn fresh(&self) -> Result<Tensors, AdapterError> {
        let [a, b, c, d, e, f, g, h, ..] = self.public_seed("fresh");
        self.adapter.initial(&self.base_shape, u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Nobody chooses probes and places: they follow from what the round is.
    fn public_seed(&self, purpose: &str) -> [u8; 32] {
        let text = format!("{purpose}\n{}\n{}\n{}", self.run, self.round, self.adapter_digest);
        let mut seed = [0; 32];
        seed.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        seed
    }

    /// The cohort's pseudonyms, sorted.
    pub fn pseudonyms(&self) -> Vec<String> {
        self.roster.iter().map(|member| member.pseudonym.clone()).collect()
    }

    /// What secure aggregation goes by; `digest` is SHA-256 of the plan's bytes.
    pub fn setting(&self, digest: [u8; 32]) -> Setting {
        Setting {
            plan: digest,
            run: self.run.clone(),
            round: self.round,
            roster: self.roster.clone(),
            threshold: self.threshold as usize,
        }
    }

    /// How sites that hold the round's adapter come by the next one.
    pub fn downlink(&self) -> Downlink {
        match (self.method, self.aggregation, self.optimiser) {
            // The cut finds other factors.
            (Method::Stack, ..) => Downlink::Halves,
            (_, Rule::Mean, ServerOptimiser::FedAvg { .. }) => Downlink::Sum,
            _ => Downlink::Change,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The sample recipe's first round on a tiny base model.
    pub(crate) fn plan() -> Plan {
        let mut recipe = Recipe::from_toml(crate::recipe::SAMPLE).unwrap();
        recipe.adapter.rank = 2;
        let base_shape = BaseShape {
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 4,
        };
        let member = |site: u8| Member { pseudonym: format!("s{site}"), identity: [site; 32] };
        let moment = Moment {
            run: "run".to_owned(),
            round: 1,
            base_shape,
            adapter_digest: String::new(),
            roster: (0..3).map(|site| (member(site), None)).collect(),
            samples: 10,
            sketch: None,
        };
        Plan::new(&recipe, moment)
    }

    #[test]
    fn a_plan_that_its_recipe_does_not_give_is_named_by_its_field() {
        let mut recipe = Recipe::from_toml(crate::recipe::SAMPLE).unwrap();
        recipe.adapter.rank = 2;
        assert_eq!(plan().departs_from(&recipe), None);
        let changed = |change: fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            plan.departs_from(&recipe)
        };
        assert_eq!(changed(|plan| plan.density = 0.5).as_deref(), Some("density"));
        assert_eq!(changed(|plan| plan.ring.clip = 9.0).as_deref(), Some("ring"));
        assert_eq!(changed(|plan| plan.ring.weight_cap = 0).as_deref(), Some("ring"));
        assert_eq!(changed(|plan| plan.adapter.rank = 0).as_deref(), Some("adapter"));
        assert_eq!(changed(|plan| plan.ranks = vec![1; 3]).as_deref(), Some("ranks"));
        assert_eq!(changed(|plan| plan.roster.reverse()).as_deref(), Some("roster"));
        let sketch = Sketch { probes: 8, range: 1.0 };
        let asks: fn(&mut Plan) = |plan| plan.sketch = Some(Sketch { probes: 8, range: 1.0 });
        assert_eq!(changed(asks).as_deref(), Some("sketch"));
        recipe.federation.method = Method::Fedit;
        let mut fedit = plan();
        (fedit.method, fedit.factors) = (Method::Fedit, Factors::Both);
        fedit.recipe_digest = recipe.digest();
        assert_eq!(fedit.departs_from(&recipe).as_deref(), Some("sketch"));
        fedit.sketch = Some(sketch);
        assert_eq!(fedit.departs_from(&recipe), None);
        for bad in [Sketch { probes: u32::MAX, ..sketch }, Sketch { range: f32::NAN, ..sketch }] {
            fedit.sketch = Some(bad);
            assert_eq!(fedit.departs_from(&recipe).as_deref(), Some("sketch"));
        }
    }

    #[test]
    fn thresholds_of_plans_are_their_recipes() {
        let mut recipe = Recipe::from_toml(crate::recipe::SAMPLE).unwrap();
        recipe.adapter.rank = 2;
        let changed = |change: fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            plan.departs_from(&recipe)
        };
        assert_eq!(changed(|plan| plan.threshold = 2).as_deref(), Some("threshold"));
    }

    #[test]
    fn a_plan_survives_its_json() {
        let mut plan = plan();
        plan.density = 0.1;
        assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
    }
}
