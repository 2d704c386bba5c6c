//! Masked rounds over real connections: they give the sum of a trusted run, whoever drops out, and
//! refuse what does not fit.

use std::collections::BTreeMap;

use chancery_proto::secagg::{
    Advert, ChunkRoot, Client, Confirmation, Identity, Journal, RoundSecret, Sealed, Session,
    Survivor, Survivors, mask_packed,
};
use chancery_proto::wire::{self, RunView, task::Work};
use chancery_proto::{Malformed, Plan, PrivacyMode, released_shares};
use chancery_provenance::{Digest, SigningKey};
use tonic::Status;

use crate::world::{Site, World, code};

/// A site with what it keeps of each round.
pub struct MaskedSite {
    pub site: Site,
    rounds: BTreeMap<u32, (RoundSecret, Journal)>,
}

struct Signer<'a>(&'a SigningKey);

impl Identity for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message)
    }
}

/// What a site answers, before it is sent.
pub enum Answer {
    Keys(wire::Keys),
    Shares(wire::Shares),
    Update(wire::Update, Vec<u8>),
    Confirmation(wire::Confirmation),
    Release(wire::Release),
    Scores(wire::Evaluate),
}

fn all<W, T: TryFrom<W, Error = Malformed>>(wire: &[W]) -> Vec<T>
where
    W: Clone,
{
    wire.iter().cloned().map(|w| T::try_from(w).unwrap()).collect()
}

fn numbers(sites: &[u32]) -> Vec<usize> {
    sites.iter().map(|site| *site as usize).collect()
}

impl MaskedSite {
    fn new(site: Site) -> Self {
        Self { site, rounds: BTreeMap::new() }
    }

    /// One step of the protocol, with everything that a site needs for it.
    fn step<T>(
        &mut self,
        plan: &[u8],
        step: impl FnOnce(&Client<'_>, &mut Journal) -> T,
    ) -> (Plan, T) {
        let digest = *Digest::of(plan).as_bytes();
        let plan = Plan::from_json(plan).unwrap();
        let setting = plan.setting(digest);
        let own = self.site.key.public().ed25519_bytes().unwrap();
        let member = plan.roster.iter().find(|member| member.identity == own).unwrap();
        let seed = format!("{} {}", self.site.name, plan.round);
        let secret = RoundSecret::from_bytes(*Digest::of(seed.as_bytes()).as_bytes());
        let (secret, journal) =
            self.rounds.entry(plan.round).or_insert_with(|| (secret, Journal::new(&setting)));
        let signer = Signer(&self.site.key);
        let before = journal.clone();
        let client = Client::new(&setting, &member.pseudonym, secret, &signer, &before).unwrap();
        let result = step(&client, journal);
        (plan, result)
    }

    /// What an honest site answers.
    pub fn answer(&mut self, work: &Work) -> Option<Answer> {
        match work {
            Work::Train(task) => {
                let (plan, advert) = self.step(&task.plan, |client, _| client.advertise());
                Some(Answer::Keys(wire::Keys {
                    run: plan.run,
                    round: plan.round,
                    lease: task.lease.clone(),
                    advert: Some((&advert).into()),
                }))
            }
            Work::Share(task) => {
                let order = task.assignment.as_ref().unwrap();
                let (plan, shares) = self.step(&order.plan, |client, journal| {
                    let session = client.enter(all(&task.adverts), journal).unwrap();
                    client.share(&session).unwrap()
                });
                Some(Answer::Shares(wire::Shares {
                    run: plan.run,
                    round: plan.round,
                    lease: order.lease.clone(),
                    shares: shares.iter().map(Into::into).collect(),
                }))
            }
            Work::Mask(task) => {
                let order = task.assignment.as_ref().unwrap();
                let (_, mut packed) = self.site.update(order);
                let received: Vec<Sealed> = task.received.iter().cloned().map(Into::into).collect();
                let plan = Plan::from_json(&order.plan).unwrap();
                let (_, signed) = self.step(&order.plan, |client, journal| {
                    let session = client.enter(all(&task.adverts), journal).unwrap();
                    let masks =
                        client.masks(&session, &numbers(&task.shared), &received, journal).unwrap();
                    mask_packed(&plan.ring, &mut packed, plan.elements(), &masks).unwrap();
                    client.sign_update(&session, ChunkRoot::of(&packed), journal).unwrap()
                });
                let mut update = self.site.sworn(order, &packed);
                update.chunk_signature = signed.signature;
                Some(Answer::Update(update, packed))
            }
            Work::Confirm(task) => {
                let order = task.assignment.as_ref().unwrap();
                let (plan, signed) = self.step(&order.plan, |client, journal| {
                    let (session, survivors) =
                        enter(client, &task.adverts, &task.shared, &task.survivors, journal);
                    client.confirm(&session, &survivors, journal).unwrap()
                });
                Some(Answer::Confirmation(wire::Confirmation {
                    run: plan.run,
                    round: plan.round,
                    lease: order.lease.clone(),
                    signature: signed.signature,
                }))
            }
            Work::Open(task) => {
                let order = task.assignment.as_ref().unwrap();
                let received: Vec<Sealed> = task.received.iter().cloned().map(Into::into).collect();
                let signed: Vec<Confirmation> =
                    task.confirmations.iter().cloned().map(Into::into).collect();
                let (plan, release) = self.step(&order.plan, |client, journal| {
                    let (session, survivors) =
                        enter(client, &task.adverts, &task.shared, &task.survivors, journal);
                    client.release(&session, &survivors, &signed, &received, journal).unwrap()
                });
                let (own_mask, masking) = released_shares(&release);
                Some(Answer::Release(wire::Release {
                    run: plan.run,
                    round: plan.round,
                    lease: order.lease.clone(),
                    own_mask,
                    masking,
                }))
            }
            Work::Evaluate(task) => Some(Answer::Scores(task.clone())),
            Work::Wait(_) | Work::Finished(_) => None,
        }
    }

    /// Sends an answer.
    pub fn send(&self, world: &mut World, answer: &Answer) -> Result<bool, Status> {
        let mut calls = self.site.calls(world);
        let receipt = match answer {
            Answer::Keys(keys) => world.block_on(calls.submit_keys(keys.clone()))?,
            Answer::Shares(shares) => world.block_on(calls.submit_shares(shares.clone()))?,
            Answer::Update(update, bytes) => {
                self.site.upload(world, bytes)?;
                return self.site.submit(world, update).map(|receipt| receipt.recorded);
            }
            Answer::Confirmation(signed) => {
                world.block_on(calls.submit_confirmation(signed.clone()))?
            }
            Answer::Release(release) => world.block_on(calls.submit_release(release.clone()))?,
            Answer::Scores(task) => {
                return self.site.evaluate(world, task).map(|receipt| receipt.recorded);
            }
        };
        Ok(receipt.into_inner().recorded)
    }
}

fn enter(
    client: &Client<'_>,
    adverts: &[wire::Advert],
    shared: &[u32],
    survivors: &[wire::Survivor],
    journal: &mut Journal,
) -> (Session, Survivors) {
    let adverts: Vec<Advert> = all(adverts);
    let arrived: Vec<Survivor> = all(survivors);
    let session = client.enter(adverts, journal).unwrap();
    let survivors = Survivors::new(&session, numbers(shared), arrived).unwrap();
    (session, survivors)
}

/// The step in a word.
fn name(work: &Work) -> &'static str {
    match work {
        Work::Train(_) => "train",
        Work::Share(_) => "share",
        Work::Mask(_) => "mask",
        Work::Confirm(_) => "confirm",
        Work::Open(_) => "open",
        Work::Evaluate(_) => "evaluate",
        Work::Wait(_) | Work::Finished(_) => "nothing",
    }
}

fn five_sites(world: &mut World) -> Vec<MaskedSite> {
    let names = ["archive", "clinic", "harbour", "hospital", "works"];
    let mut sites: Vec<_> = names.iter().map(|name| MaskedSite::new(world.joined(name))).collect();
    for (number, site) in sites.iter_mut().enumerate() {
        site.site.samples = 100 - 15 * number as u64;
    }
    sites
}

/// Lets all sites work until the run is over. `silent` says which site answers nothing, from which step
/// of which round on.
fn work_through(
    world: &mut World,
    run: &str,
    sites: &mut [MaskedSite],
    silent: Option<(usize, u32, &str)>,
) -> RunView {
    let mut gone = false;
    for _ in 0..150 {
        for (number, site) in sites.iter_mut().enumerate() {
            let round = world.view(run).round;
            if silent.is_some_and(|(n, of, _)| n == number && of == round) && gone {
                continue;
            }
            let Some(work) = site.site.poll(world) else { continue };
            if silent.is_some_and(|(n, of, step)| n == number && of == round && step == name(&work))
            {
                gone = true;
                continue;
            }
            if let Some(answer) = site.answer(&work) {
                assert!(site.send(world, &answer).unwrap(), "{}", name(&work));
            }
        }
        let view = world.view(run);
        if matches!(view.state.as_str(), "succeeded" | "failed" | "stopped") {
            return view;
        }
    }
    panic!("the run does not end: {:?}", world.view(run));
}

fn masked(lease: u32, silent: Option<(usize, u32, &str)>, restless: bool) -> RunView {
    let mut world = World::new();
    let mut sites = five_sites(&mut world);
    let run = world.run_of(5, 4, PrivacyMode::Masked, lease);
    world.restless = restless;
    work_through(&mut world, &run, &mut sites, silent)
}

/// A trusted run with the same updates: what the masked sum must be.
fn trusted(lease: u32, without: Option<usize>) -> RunView {
    let mut world = World::new();
    let sites: Vec<Site> = five_sites(&mut world).into_iter().map(|site| site.site).collect();
    let run = world.run_of(5, 4, PrivacyMode::Trusted, lease);
    sites.iter().for_each(|site| {
        site.poll(&mut world);
    });
    let tasks: Vec<_> = sites.iter().map(|site| site.training(&mut world)).collect();
    for (number, (site, task)) in sites.iter().zip(&tasks).enumerate() {
        if without != Some(number) {
            site.train(&mut world, task).unwrap();
        }
    }
    while world.view(&run).history[0].state == "training" {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    world.work_through(&run, &sites)
}

fn adapters(view: &RunView) -> Vec<&str> {
    assert_eq!(view.state, "succeeded", "{view:?}");
    view.history.iter().map(|round| round.adapter_digest.as_str()).collect()
}

#[test]
fn a_masked_run_gives_the_adapters_of_a_trusted_one() {
    let (masked, trusted) = (masked(60, None, false), trusted(60, None));
    assert_eq!(adapters(&masked), adapters(&trusted));
    assert_eq!((masked.history[0].updates, masked.history[0].lost), (5, 0));
}

#[test]
fn killed_before_every_call_a_masked_run_comes_to_the_same_adapters() {
    let (restless, calm) = (masked(60, None, true), masked(60, None, false));
    assert_eq!(adapters(&restless), adapters(&calm));
}

/// Whoever shared secrets and then vanished is taken out of the sum by the others' shares.
#[test]
fn a_site_that_vanishes_after_sharing_leaves_the_exact_sum_of_the_rest() {
    let (masked, trusted) = (masked(2, Some((3, 1, "mask")), false), trusted(2, Some(3)));
    assert_eq!(masked.history[0].lost, 1);
    assert_eq!(adapters(&masked)[0], adapters(&trusted)[0]);
    assert_eq!(masked.history[1].updates, 5, "it takes part again in the next round");
}

#[test]
fn sites_that_vanish_before_sharing_or_after_masking_do_no_harm() {
    let early = masked(2, Some((0, 1, "share")), false);
    assert_eq!((early.state.as_str(), early.history[0].updates), ("succeeded", 4));
    for step in ["confirm", "open"] {
        let late = masked(2, Some((0, 1, step)), false);
        assert_eq!((late.state.as_str(), late.history[0].updates), ("succeeded", 5), "{step}");
    }
}

#[test]
fn below_the_threshold_the_round_ends_cleanly() {
    let mut world = World::new();
    let mut sites = five_sites(&mut world);
    let run = world.run_with(5, 4, PrivacyMode::Masked, 1, 4, |_| {});
    sites.truncate(5);
    let mut left = 0;
    for _ in 0..60 {
        let deaf = if left > 0 { 2 } else { 0 };
        for site in sites.iter_mut().skip(deaf) {
            let Some(work) = site.site.poll(&mut world) else { continue };
            if name(&work) == "mask" {
                left += 1;
            }
            if let Some(answer) = site.answer(&work) {
                let _ = site.send(&mut world, &answer);
            }
        }
        if world.view(&run).state == "failed" {
            break;
        }
    }
    let view = world.view(&run);
    assert_eq!(view.state, "failed", "{view:?}");
    assert!(view.detail.contains("of the 4 answers it needs"), "{}", view.detail);
}

/// Lets every site answer until `number` is asked for `step`; its task.
fn until(world: &mut World, sites: &mut [MaskedSite], number: usize, step: &str) -> Work {
    for _ in 0..60 {
        for (n, site) in sites.iter_mut().enumerate() {
            let Some(work) = site.site.poll(world) else { continue };
            if n == number && name(&work) == step {
                return work;
            }
            if let Some(answer) = site.answer(&work) {
                site.send(world, &answer).unwrap();
            }
        }
    }
    panic!("site {number} is never asked for {step}");
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_the_round_goes_on() {
    let mut world = World::new();
    let mut sites = five_sites(&mut world);
    let run = world.run_of(5, 4, PrivacyMode::Masked, 60);
    for site in &sites {
        site.site.poll(&mut world);
    }

    // Keys: signed by another identity; taken from another site.
    let honest = until(&mut world, &mut sites, 1, "train");
    let Some(Answer::Keys(mut keys)) = sites[1].answer(&honest) else { panic!() };
    let Some(Answer::Keys(others)) = sites[2].answer(&honest) else { panic!() };
    keys.advert.as_mut().unwrap().signature = others.advert.as_ref().unwrap().signature.clone();
    assert_eq!(code(sites[1].send(&mut world, &Answer::Keys(keys.clone()))), "CH1507");
    let work = until(&mut world, &mut sites, 1, "train");
    let Some(Answer::Keys(mut fresh)) = sites[1].answer(&work) else { panic!() };
    fresh.advert = others.advert;
    assert_eq!(code(sites[1].send(&mut world, &Answer::Keys(fresh))), "CH1505");

    // Shares: one too few.
    let work = until(&mut world, &mut sites, 1, "share");
    let Some(Answer::Shares(mut shares)) = sites[1].answer(&work) else { panic!() };
    shares.shares.pop();
    assert_eq!(code(sites[1].send(&mut world, &Answer::Shares(shares))), "CH1511");

    // Updates: another site's; too short; bits outside of the ring; a wrong root; the clear one.
    let work = until(&mut world, &mut sites, 1, "mask");
    let Work::Mask(task) = &work else { panic!() };
    let order = task.assignment.clone().unwrap();
    let Some(Answer::Update(good, bytes)) = sites[1].answer(&work) else { panic!() };
    let try_update = |world: &mut World, sites: &mut [MaskedSite], update, bytes: &[u8]| {
        let result = sites[1].send(world, &Answer::Update(update, bytes.to_vec()));
        let next = until(world, sites, 1, "mask");
        let Work::Mask(task) = next else { panic!() };
        (code(result), task.assignment.unwrap())
    };
    let clear = sites[1].site.update(&order).1;
    let mut update = sites[1].site.sworn(&order, &clear);
    update.chunk_signature.clone_from(&good.chunk_signature);
    let (refused, order) = try_update(&mut world, &mut sites, update, &clear);
    assert_eq!(refused, "CH1507", "the signature is over the masked one");
    let short = &bytes[..bytes.len() - 1];
    let update = sites[1].site.sworn(&order, short);
    let (refused, order) = try_update(&mut world, &mut sites, update, short);
    assert_eq!(refused, "CH1202");
    let mut beyond = bytes.clone();
    *beyond.last_mut().unwrap() |= 0x80;
    let update = sites[1].site.sworn(&order, &beyond);
    let (refused, order) = try_update(&mut world, &mut sites, update, &beyond);
    assert_eq!(refused, "CH1203");
    let mut update = sites[1].site.sworn(&order, &bytes);
    update.chunk_root = vec![7; 32];
    let (refused, order) = try_update(&mut world, &mut sites, update, &bytes);
    assert_eq!(refused, "CH3124");
    let mut update = sites[1].site.sworn_as(&order, &bytes, "A");
    update.chunk_signature.clone_from(&good.chunk_signature);
    let (refused, order) = try_update(&mut world, &mut sites, update, &bytes);
    assert_eq!(refused, "CH3123", "it trained the wrong factor");
    let mut update = sites[1].site.sworn(&order, &bytes);
    update.chunk_signature.clone_from(&good.chunk_signature);
    assert!(sites[1].send(&mut world, &Answer::Update(update, bytes)).unwrap());

    // Confirmations: over something else.
    let work = until(&mut world, &mut sites, 1, "confirm");
    let Some(Answer::Confirmation(mut signed)) = sites[1].answer(&work) else { panic!() };
    signed.signature[3] ^= 1;
    assert_eq!(code(sites[1].send(&mut world, &Answer::Confirmation(signed))), "CH1507");

    // Releases: both kinds of share of one site.
    let work = until(&mut world, &mut sites, 1, "open");
    let Some(Answer::Release(mut release)) = sites[1].answer(&work) else { panic!() };
    release.masking.push(release.own_mask[0].clone());
    assert_eq!(code(sites[1].send(&mut world, &Answer::Release(release))), "CH1512");

    let view = work_through(&mut world, &run, &mut sites, None);
    assert_eq!((view.state.as_str(), view.history[0].updates), ("succeeded", 5));
    assert_eq!(view.history[0].refused, 10);
}

/// The classic hole: a site is declared lost, its masking key comes out, then its update arrives.
#[test]
fn a_masked_update_that_comes_after_its_owner_was_declared_lost_is_refused() {
    let mut world = World::new();
    let mut sites = five_sites(&mut world);
    let run = world.run_of(5, 4, PrivacyMode::Masked, 2);
    for site in &sites {
        site.site.poll(&mut world);
    }
    let work = until(&mut world, &mut sites, 4, "mask");
    let Some(late) = sites[4].answer(&work) else { panic!() };
    while world.view(&run).history[0].state != "confirming" {
        for site in sites.iter_mut().take(4) {
            let Some(work) = site.site.poll(&mut world) else { continue };
            if name(&work) == "mask" {
                let answer = site.answer(&work).unwrap();
                site.send(&mut world, &answer).unwrap();
            }
        }
    }
    let Answer::Update(update, _) = &late else { panic!() };
    assert_eq!(code(sites[4].site.submit(&mut world, update)), "CH3103");
    assert!(sites[4].site.poll(&mut world).is_none_or(|work| name(&work) == "nothing"));
    let view = work_through(&mut world, &run, &mut sites, None);
    assert_eq!((view.state.as_str(), view.history[0].updates), ("succeeded", 4));
}

#[test]
fn an_inexact_method_says_what_it_missed_though_nobody_sees_the_factors() {
    let mut world = World::new();
    let mut sites = five_sites(&mut world);
    let run = world.run_with(5, 4, PrivacyMode::Masked, 60, 60, |recipe| {
        recipe.federation.method = chancery_proto::Method::Fedit;
    });
    let view = work_through(&mut world, &run, &mut sites, None);
    assert_eq!(view.state, "succeeded", "{view:?}");
    for round in &view.history {
        let missed = round.missed.unwrap();
        assert!(missed > 0.0 && round.missed_low <= missed && missed <= round.missed_high);
    }
    let exact = masked(60, None, false);
    assert!(exact.history.iter().all(|round| round.missed.is_none()));
}
