//! What this site swears it trained.

use chancery_provenance::{
    Digest, Environment, Statement, Subject, TRAINING_TYPE, TrainingStatement,
};

use crate::assignment::Assignment;
use crate::error::Error;
use crate::home::key_error;

/// The statement over one update.
pub(crate) fn training(
    assignment: &Assignment,
    commitment: &Digest,
    update: &Digest,
    steps: u32,
) -> Result<Statement, Error> {
    let plan = &assignment.plan;
    let statement = TrainingStatement {
        run: plan.run.clone(),
        round: plan.round,
        plan_digest: assignment.plan_digest,
        base_digest: plan.base_digest.parse().map_err(key_error)?,
        adapter_digest: plan.adapter_digest.parse().map_err(key_error)?,
        dataset_commitment: *commitment,
        factors: plan.factors.to_string(),
        update_digest: *update,
        steps,
        environment: Environment {
            chancery: env!("CARGO_PKG_VERSION").to_owned(),
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            backend: crate::model::BACKEND.to_owned(),
        },
    };
    let subject = Subject::new(format!("update of round {}", plan.round), *update);
    Ok(Statement::new(vec![subject], TRAINING_TYPE, &statement))
}
