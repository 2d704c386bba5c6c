//! A small run with all its evidence, and its release in a folder.

use std::path::Path;

use chancery_provenance::{
    Algorithm, Bundle, Digest, Environment, Evaluated, Participation, PublicKey, RECEIPT_TYPE,
    Receipt, Release, ReleaseInput, Score, SigningKey, Statement, Subject, TRAINING_TYPE, Traffic,
    TrainingStatement,
};

/// Whoever signs, and what was signed.
pub(crate) struct Story {
    pub(crate) registry: SigningKey,
    pub(crate) coordinator: SigningKey,
    pub(crate) sites: Vec<SigningKey>,
    pub(crate) adapter: Vec<u8>,
    pub(crate) recipe: String,
    pub(crate) receipts: Vec<Bundle>,
    pub(crate) trainings: Vec<Bundle>,
}

impl Story {
    /// Three sites and two rounds.
    pub(crate) fn new() -> Self {
        let key = |algorithm| SigningKey::generate(algorithm).unwrap();
        let mut story = Self {
            registry: key(Algorithm::P256),
            coordinator: key(Algorithm::Ed25519),
            sites: (0..3).map(|_| key(Algorithm::Ed25519)).collect(),
            adapter: b"the adapter after round 2".to_vec(),
            recipe: r#"{"name":"story","description":"a test","base":{"name":"acme/base"},"adapter":{"rank":8,"alpha":16.0,"targets":["q_proj"]},"training":{"steps":4}}"#.to_owned(),
            receipts: Vec::new(),
            trainings: Vec::new(),
        };
        story.round(1);
        story.round(2);
        story
    }

    fn adapter_after(&self, round: u32) -> Digest {
        if round == 2 { Digest::of(&self.adapter) } else { Digest::of(&[round as u8]) }
    }

    fn round(&mut self, round: u32) {
        let base_digest = Digest::of(b"base");
        let plan = format!("plan {round}");
        let plan_digest = Digest::of(plan.as_bytes());
        let roster: Vec<String> = (0..3).map(|site| format!("site-{site}")).collect();
        let mut participants = Vec::new();
        for (site, pseudonym) in roster.iter().enumerate() {
            let update_digest = Digest::of(format!("update {site} {round}").as_bytes());
            let training = TrainingStatement {
                run: "run".to_owned(),
                round,
                plan_digest,
                base_digest,
                adapter_digest: self.adapter_after(round - 1),
                dataset_commitment: Digest::of(&[site as u8]),
                factors: "B".to_owned(),
                update_digest,
                steps: 4,
                environment: Environment {
                    chancery: "0".to_owned(),
                    os: "linux".to_owned(),
                    architecture: "x86_64".to_owned(),
                    backend: "burn-flex".to_owned(),
                },
            };
            let subject = Subject::new("update", update_digest);
            let statement = Statement::new(vec![subject], TRAINING_TYPE, &training);
            let bundle = Bundle::sign(&statement, &self.sites[site]).unwrap();
            participants.push(Participation {
                pseudonym: pseudonym.clone(),
                key: self.sites[site].public().to_pem(),
                update_digest,
                chunk_root: "00".repeat(32),
                statement_digest: bundle.digest(),
            });
            self.trainings.push(bundle);
        }
        let score = |accuracy| Score { loss: 0.5, accuracy, examples: 240 };
        let receipt = Receipt {
            run: "run".to_owned(),
            round,
            rounds: 2,
            plan_digest,
            plan,
            recipe_digest: Digest::of(self.recipe.as_bytes()),
            base_digest,
            adapter_before: self.adapter_after(round - 1),
            adapter_after: self.adapter_after(round),
            factors: "B".to_owned(),
            mode: "trusted".to_owned(),
            method: "ffa".to_owned(),
            exact: true,
            quantisation_bits: 14,
            ring_bits: 16,
            clip: 0.25,
            quorum: 2,
            threshold: 0,
            lost: Vec::new(),
            transcript: None,
            evaluation: roster
                .iter()
                .map(|pseudonym| Evaluated {
                    pseudonym: pseudonym.clone(),
                    task: format!("task of {pseudonym}"),
                    adapter: score(0.9),
                    base: (round == 1).then(|| score(0.1)),
                })
                .collect(),
            roster,
            participants,
            refused: Vec::new(),
            quantisation_error: 0.001,
            aggregation_error: None,
            discarded: Vec::new(),
            traffic: Traffic { up: 10, down: 20 },
            previous: self.receipts.last().map(Bundle::digest),
            finished_at: "2026-01-01T00:00:00Z".to_owned(),
        };
        let subject = Subject::new("adapter", receipt.adapter_after);
        let statement = Statement::new(vec![subject], RECEIPT_TYPE, &receipt);
        self.receipts.push(Bundle::sign(&statement, &self.coordinator).unwrap());
    }

    pub(crate) fn registry_key(&self) -> PublicKey {
        self.registry.public()
    }

    /// Signs the release and writes its files into `dir`.
    pub(crate) fn release_into(&self, dir: &Path) {
        let input = ReleaseInput {
            name: "story",
            version: 1,
            issued_at: "2026-01-01T00:00:00Z",
            recipe_json: &self.recipe,
            coordinator_key: &self.coordinator.public(),
            receipts: &self.receipts,
            trainings: &self.trainings,
            adapter: &self.adapter,
            adapter_config: b"{}",
            started_at: "2026-01-01T00:00:00Z",
            finished_at: "2026-01-01T00:00:01Z",
            coordinator_version: "0.1.0",
        };
        std::fs::create_dir_all(dir).unwrap();
        for (name, bytes) in Release::assemble(&input, &self.registry).unwrap().files {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}
