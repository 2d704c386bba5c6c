//! The adapter a site holds, and how it comes by the next one.

use std::sync::Arc;

use chancery_proto::aggregation::{Change, ServerState, halves_size, read_halves};
use chancery_proto::{Accumulator, Downlink, Tensors, wire};
use chancery_provenance::Digest;

use crate::assignment::Assignment;
use crate::client::Client;
use crate::error::Error;
use crate::home::key_error;

/// The newest adapter at this site, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<(Digest, Arc<Tensors>)>);

impl Held {
    /// Its digest, or empty.
    pub(crate) fn digest(&self) -> String {
        self.0.as_ref().map(|(digest, _)| digest.to_string()).unwrap_or_default()
    }

    /// Makes the round's new adapter out of what changed, when this site holds what that takes. What does
    /// not come out right is downloaded whole instead.
    pub(crate) async fn follow(
        &mut self,
        client: &Client,
        assignment: &Assignment,
        task: &wire::Evaluate,
    ) -> Result<(), Error> {
        let plan = &assignment.plan;
        let way = plan.downlink();
        let held = self.0.as_ref().filter(|(digest, _)| digest.to_string() == plan.adapter_digest);
        let before = match held {
            Some((_, tensors)) => tensors.as_ref().clone(),
            None if way == Downlink::Halves => Tensors::new(),
            None => return Ok(()),
        };
        if task.change_digest.is_empty() {
            return Ok(());
        }
        let changed: Digest = task.change_digest.parse().map_err(key_error)?;
        let size = match way {
            Downlink::Sum => plan.ring.packed_len(plan.elements()),
            Downlink::Change => Change::size(plan),
            Downlink::Halves => halves_size(plan),
        };
        let bytes = client.download(&changed, size).await?;
        let mut server = ServerState::new(before);
        match way {
            Downlink::Sum => {
                let mut sum = Accumulator::new(&plan.ring, plan.elements())?;
                sum.add(bytes.as_ref())?;
                server.step(plan, &sum.finish()?.values).map_err(key_error)?;
            }
            Downlink::Change => {
                let change = Change::parse(plan, &bytes).map_err(key_error)?;
                change.apply(plan, &mut server.adapter);
            }
            Downlink::Halves => server.adapter = read_halves(plan, &bytes).map_err(key_error)?,
        }
        let digest = Digest::of(&server.adapter.to_safetensors()?);
        if digest.to_string() == task.adapter_digest {
            self.0 = Some((digest, Arc::new(server.adapter)));
        }
        Ok(())
    }

    /// The adapter with this digest: the one at hand, the seeded start, or a download.
    pub(crate) async fn get(
        &mut self,
        client: &Client,
        assignment: &Assignment,
        digest: &str,
    ) -> Result<Arc<Tensors>, Error> {
        let wanted: Digest = digest.parse().map_err(key_error)?;
        if let Some((held, tensors)) = &self.0
            && *held == wanted
        {
            return Ok(Arc::clone(tensors));
        }
        let start = assignment.initial_adapter()?;
        let tensors = if Digest::of(&start.to_safetensors()?) == wanted {
            start
        } else {
            let cap = start.elements() * 4 + (1 << 20);
            let bytes = client.download(&wanted, cap).await?;
            let tensors = Tensors::from_safetensors(&bytes)?;
            start.same_layout(&tensors)?;
            tensors
        };
        let tensors = Arc::new(tensors);
        self.0 = Some((wanted, Arc::clone(&tensors)));
        Ok(tensors)
    }
}
