//! What the state of the runs asks for, done until there is nothing left. All of it can be done twice.

use std::time::Duration;

use chancery_proto::aggregation::ServerState;
use chancery_proto::secagg::{Revealed, Transcript};
use chancery_proto::{Accumulator, Method, Plan, wire};
use chancery_provenance::{Bundle, Digest};
use prost::Message as _;

use super::App;
use super::intake::{site_number, survivors};
use crate::aggregate::{Made, Updates};
use crate::clock;
use crate::error::{Error, Reject};
use crate::publish::publish;
use crate::receipt::receipt;
use crate::round::{BySite, Event, Masked, Phase, Round, Sum, Update};
use crate::run::{Run, RunState};

/// How long to wait after an effect failed before it is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// How long to wait when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

impl App {
    /// Does whatever is due and says when to look again. What one run cannot do now holds up no other.
    pub(crate) async fn drive(&self) -> Result<Duration, Error> {
        let mut wait = IDLE;
        for stored in self.store.runs().await? {
            wait = wait.min(self.drive_run(&stored.run).await.unwrap_or_else(|error| {
                tracing::error!(run.id = stored.run.id, error = %error, "an effect failed and is tried again");
                RETRY
            }));
        }
        Ok(wait)
    }

    async fn drive_run(&self, run: &Run) -> Result<Duration, Error> {
        match &run.state {
            RunState::Running(round) => match &round.phase {
                Phase::Aggregating { updates, masked } => {
                    self.aggregate(run, round, updates, masked.as_deref()).await?;
                }
                Phase::Succeeded { sum, .. } => {
                    self.forget(&sum.spent).await?;
                    self.write_receipt(run, round).await?;
                    self.advance(&run.id).await?;
                }
                Phase::Failed { .. } => self.advance(&run.id).await?,
                _ => {
                    self.tell(&run.id, Event::Tick).await?;
                    let left =
                        round.deadline().map(|at| at.saturating_sub(clock::now_ms()).max(20));
                    return Ok(left.map_or(IDLE, Duration::from_millis));
                }
            },
            RunState::Publishing => {
                let published = match &self.registry {
                    Some(target) => Some(publish(self, target, run).await?),
                    None => None,
                };
                self.change(&run.id, |run| {
                    if run.state == RunState::Publishing {
                        run.state = RunState::Succeeded { published };
                    }
                    Ok(())
                })
                .await?;
            }
            _ => return Ok(IDLE),
        }
        Ok(Duration::ZERO)
    }

    /// Tells the running round what happened here.
    async fn tell(&self, id: &str, event: Event) -> Result<(), Error> {
        self.change(id, |run| {
            if let RunState::Running(round) = &run.state {
                let step = round.as_ref().clone().apply(event, clock::now_ms())?;
                run.set_round(step.round);
            }
            Ok(())
        })
        .await
    }

    async fn advance(&self, id: &str) -> Result<(), Error> {
        self.change(id, |run| {
            run.advance(clock::now_ms());
            Ok(())
        })
        .await
    }

    async fn aggregate(
        &self,
        run: &Run,
        round: &Round,
        updates: &BySite<Update>,
        masked: Option<&Masked>,
    ) -> Result<(), Error> {
        let plan = &round.plan;
        let made = self.make(run, plan, updates, masked).await;
        let (made, record) = match made {
            Ok(made) => made,
            // What does not fit now will not fit the next time either.
            Err(Error::Reject(reject)) => {
                let why = format!("round {}: {}: {reject}", plan.round, reject.code());
                return self.tell(&run.id, Event::Stop { why }).await;
            }
            Err(error) => return Err(error),
        };
        let adapter = self.blobs.put(made.server.adapter.to_safetensors()?).await?.to_string();
        let moments = match made.server.moments.is_empty() {
            true => None,
            false => Some(made.server.moments.to_safetensors()?),
        };
        tracing::info!(run.id = run.id, round.number = plan.round, adapter, "summed");
        let spent: Vec<String> = masked
            .iter()
            .flat_map(|masked| masked.releases.values())
            .map(|release| release.blob.clone())
            .collect();
        let sum = Sum {
            adapter,
            moments: self.keep(moments).await?,
            change: self.keep(made.change).await?,
            deviation: made.missed,
            discarded: made.discarded,
            transcript: self.keep(record).await?,
            spent: spent.clone(),
        };
        self.tell(&run.id, Event::Aggregated { sum }).await?;
        self.forget(&spent).await
    }

    /// The new adapter, and of a masked round the record that lets anyone make it again.
    async fn make(
        &self,
        run: &Run,
        plan: &Plan,
        updates: &BySite<Update>,
        masked: Option<&Masked>,
    ) -> Result<(Made, Option<Vec<u8>>), Error> {
        let mut server = ServerState::new(self.tensors(&digest(&plan.adapter_digest)?).await?);
        if let Some(moments) = &run.moments {
            server.moments = self.tensors(&digest(moments)?).await?;
        }
        let sites = updates.keys().map(|site| site_number(plan, site)).collect::<Result<_, _>>()?;
        let digests = updates.values().map(|u| digest(&u.digest)).collect::<Result<_, _>>()?;
        let seen = Updates { blobs: &self.blobs, plan, sites, digests };
        if plan.method == Method::Stack {
            return Ok((tokio::task::block_in_place(|| seen.stack(server))?, None));
        }
        let mut sum = tokio::task::block_in_place(|| seen.sum())?;
        let record = match masked {
            Some(masked) => Some(self.unmask(plan, updates, masked, &mut sum).await?),
            None => None,
        };
        Ok((tokio::task::block_in_place(|| seen.average(server, sum))?, record))
    }

    /// Stores what there is to store.
    async fn keep(&self, bytes: Option<Vec<u8>>) -> Result<Option<String>, Error> {
        match bytes {
            Some(bytes) => Ok(Some(self.blobs.put(bytes).await?.to_string())),
            None => Ok(None),
        }
    }

    async fn forget(&self, blobs: &[String]) -> Result<(), Error> {
        for blob in blobs {
            self.blobs.remove(&digest(blob)?).await?;
        }
        Ok(())
    }

    /// Takes the masks off a sum and gives the record that lets anyone do it again.
    async fn unmask(
        &self,
        plan: &Plan,
        updates: &BySite<Update>,
        masked: &Masked,
        sum: &mut Accumulator,
    ) -> Result<Vec<u8>, Error> {
        let (session, survivors) = survivors(plan, &masked.keyed, updates)?;
        let mut releases = Vec::with_capacity(masked.releases.len());
        for (site, release) in &masked.releases {
            let bytes = self.blob_bytes(&digest(&release.blob)?).await?;
            let wire =
                wire::Release::decode(bytes.as_slice()).map_err(|e| Error::State(e.to_string()))?;
            let number = session.setting().site(site).ok_or(Reject::Foreign)?;
            let release =
                chancery_proto::release(number, &wire).map_err(|e| Error::State(e.to_string()))?;
            releases.push(release);
        }
        let revealed = Revealed::open(&session, &survivors, &releases).map_err(Reject::Secagg)?;
        let confirmations = masked.confirmations.values().cloned().collect();
        let transcript = Transcript::new(&session, &survivors, confirmations, &revealed);
        let threads = std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
        tokio::task::block_in_place(|| sum.unmask(&revealed.masks(), threads));
        Ok(serde_json::to_vec(&transcript)?)
    }

    async fn write_receipt(&self, run: &Run, round: &Round) -> Result<(), Error> {
        let receipts = self.store.receipts(&run.id).await?;
        if receipts.len() as u32 >= round.plan.round {
            return Ok(());
        }
        let previous = receipts.last().map(|text| Digest::of(text.as_bytes()));
        if let Some(statement) = receipt(run, round, previous)? {
            let bundle = Bundle::sign(&statement, &self.authority.key)?;
            self.store.put_receipt(&run.id, round.plan.round, &bundle.to_json()).await?;
        }
        Ok(())
    }
}

fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|e: chancery_provenance::DigestError| Error::State(e.to_string()))
}
