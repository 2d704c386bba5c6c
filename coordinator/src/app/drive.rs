//! What the state of the runs asks for, done until there is nothing left. All of it can be done twice.

use std::time::Duration;

use chancery_proto::aggregation::{Rule, ServerState};
use chancery_proto::secagg::{Revealed, Transcript};
use chancery_proto::{Accumulator, Downlink, Method, Plan, wire};
use chancery_provenance::{Bundle, Digest};
use prost::Message as _;

use super::App;
use super::intake::{site_number, survivors};
use crate::aggregate::{delta, seen, sum};
use crate::clock;
use crate::error::{Error, Reject};
use crate::publish::publish;
use crate::receipt::receipt;
use crate::round::{BySite, Discarded, Event, Masked, Missed, Phase, Round, Sum, Update};
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
        let mut server = ServerState::new(self.tensors(&digest(&plan.adapter_digest)?).await?);
        if let Some(moments) = &run.moments {
            server.moments = self.tensors(&digest(moments)?).await?;
        }
        let digests = updates.values().map(|u| digest(&u.digest)).collect::<Result<Vec<_>, _>>()?;
        let sites =
            updates.keys().map(|site| site_number(plan, site)).collect::<Result<Vec<_>, _>>()?;
        if plan.method == Method::Stack {
            let stacked = tokio::task::block_in_place(|| {
                Ok::<_, Error>(
                    seen(&self.blobs, plan, &sites, &digests)
                        .stack(&mut server)
                        .map_err(Reject::from)?,
                )
            });
            let Some(stacked) = self.unless_rejected(run, plan, stacked).await? else {
                return Ok(());
            };
            let adapter = self.blobs.put(server.adapter.to_safetensors()?).await?.to_string();
            let change = Some(self.blobs.put(stacked.halves).await?.to_string());
            let discarded = stacked.discarded.into_iter();
            let discarded =
                discarded.map(|cut| Discarded { tensor: cut.tensor, share: cut.share }).collect();
            let deviation = stacked.deviation.map(Missed::exactly);
            let sum = Sum { adapter, change, deviation, discarded, ..Sum::default() };
            return self.tell(&run.id, Event::Aggregated { sum }).await;
        }
        let mut sum = tokio::task::block_in_place(|| sum(&self.blobs, plan, &digests))?;
        let mut transcript = None;
        if let Some(masked) = masked {
            let record = self.unmask(plan, updates, masked, &mut sum).await;
            let Some(record) = self.unless_rejected(run, plan, record).await? else {
                return Ok(());
            };
            transcript = Some(self.blobs.put(record).await?.to_string());
        }
        let packed = (plan.downlink() == Downlink::Sum).then(|| sum.to_packed());
        let step = tokio::task::block_in_place(|| {
            let delta = delta(&self.blobs, plan, &digests, sum)?;
            let missed = match plan.sketch {
                Some(_) => estimated(plan, &server, &delta),
                None if plan.method.is_exact() || plan.aggregation != Rule::Mean => None,
                None => seen(&self.blobs, plan, &sites, &digests)
                    .deviation(&server)
                    .map_err(Reject::from)?
                    .map(Missed::exactly),
            };
            let change = server.step(plan, &delta).map_err(Reject::from)?;
            Ok::<_, Error>((missed, change.map(|change| change.as_bytes().to_vec())))
        });
        let Some((deviation, change)) = self.unless_rejected(run, plan, step).await? else {
            return Ok(());
        };
        let adapter = self.blobs.put(server.adapter.to_safetensors()?).await?.to_string();
        let change = match packed.or(change) {
            Some(bytes) => Some(self.blobs.put(bytes).await?.to_string()),
            None => None,
        };
        let moments = match server.moments.is_empty() {
            true => None,
            false => Some(self.blobs.put(server.moments.to_safetensors()?).await?.to_string()),
        };
        tracing::info!(run.id = run.id, round.number = plan.round, adapter, "summed");
        let spent: Vec<String> = masked
            .iter()
            .flat_map(|masked| masked.releases.values())
            .map(|release| release.blob.clone())
            .collect();
        let spent_now = spent.clone();
        let discarded = Vec::new();
        let sum = Sum { adapter, moments, change, deviation, discarded, transcript, spent };
        self.tell(&run.id, Event::Aggregated { sum }).await?;
        self.forget(&spent_now).await
    }

    /// What came out, or nothing when the round has ended over it: what does not fit now will not fit the
    /// next time either.
    async fn unless_rejected<T>(
        &self,
        run: &Run,
        plan: &Plan,
        outcome: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Error::Reject(reject)) => {
                let why = format!("round {}: {}: {reject}", plan.round, reject.code());
                self.tell(&run.id, Event::Stop { why }).await.map(|()| None)
            }
            Err(error) => Err(error),
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

/// What averaging the factors missed, as far as probes tell.
fn estimated(plan: &Plan, server: &ServerState, delta: &[f32]) -> Option<Missed> {
    let (found, largest) = plan.deviation(delta, &server.mean(plan, delta))?;
    let finite = |x: f64| if x.is_finite() { x } else { f64::MAX };
    Some(Missed { relative: found.relative, low: found.low, high: finite(found.high), largest })
}

fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|e: chancery_provenance::DigestError| Error::State(e.to_string()))
}
