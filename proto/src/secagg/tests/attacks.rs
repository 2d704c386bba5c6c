//! What a coordinator or a site may try, and the refusal that each attempt meets.

use super::*;
use crate::secagg::share::join;

/// A round of five sites up to where survivors are confirmed: 0 to 3 survive, 4 got lost.
struct Confirmed {
    world: World,
    session: Session,
    survivors: Survivors,
    confirmations: Vec<Confirmation>,
}

fn confirmed() -> Confirmed {
    let mut world = World::new(5, 64);
    let all = range(5);
    let session = world.set_up(&all, &all);
    let updates = (0..4).map(|n| world.masked(&session, n, &all).unwrap().0).collect();
    let survivors = Survivors::new(&session, all, updates).unwrap();
    let confirmations = (0..4)
        .map(|n| world.at(n, |c, j, _| c.confirm(&session, &survivors, j)).unwrap())
        .collect();
    Confirmed { world, session, survivors, confirmations }
}

#[test]
fn coordinator_asks_for_both_shares_of_one_site() {
    let Confirmed { mut world, session, survivors, confirmations } = confirmed();
    // First as survivors and lost sites really are: one kind of share each.
    let release =
        world.at(0, |c, j, r| c.release(&session, &survivors, &confirmations, r, j)).unwrap();
    assert_eq!(release.own_mask.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(release.masking.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [4]);
    // Then pretending that site 3 got lost as well, which would give its masking key.
    let updates: Vec<_> = survivors.updates().iter().filter(|u| u.site != 3).cloned().collect();
    let error = Survivors::new(&session, range(5), updates.clone()).unwrap_err();
    assert_eq!(error.code(), "CH1501", "three survivors are below the threshold of four");
    // And pretending that lost site 4 survived after all, which would give its own mask.
    let late = world.masked(&session, 4, &range(5)).unwrap().0;
    let mut more = survivors.updates().to_vec();
    more.push(late);
    let other = Survivors::new(&session, range(5), more).unwrap();
    let error =
        world.at(0, |c, j, r| c.release(&session, &other, &confirmations, r, j)).unwrap_err();
    assert_eq!(error, SecaggError::Replay { what: "the set of survivors" });
    let error = world.at(0, |c, j, _| c.confirm(&session, &other, j)).unwrap_err();
    assert_eq!(error, SecaggError::Replay { what: "the set of survivors" });
}

/// The hole that a self-mask closes: a lost site's masking key is out, and its update arrives late.
/// The own mask still hides it, and nobody answers for that any more.
#[test]
fn late_update_of_a_lost_site_stays_hidden() {
    let Confirmed { mut world, session, survivors, confirmations } = confirmed();
    let releases: Vec<_> = (0..4)
        .map(|n| {
            world.at(n, |c, j, r| c.release(&session, &survivors, &confirmations, r, j)).unwrap()
        })
        .collect();
    let (_, mut late) = world.masked(&session, 4, &range(5)).unwrap();
    let revealed = Revealed::open(&session, &survivors, &releases).unwrap();
    // Everything that was released about site 4, used against its update.
    let pairs: Vec<_> = revealed
        .pairs
        .into_iter()
        .filter(|(lost, ..)| *lost == 4)
        .map(|(lost, peer, seed)| MaskSeed { seed, sign: Sign::of(lost, peer).undone() })
        .collect();
    assert_eq!(pairs.len(), 4);
    mask_packed(&world.ring, &mut late, 64, &pairs).unwrap();
    assert_ne!(late, world.sites[4].clear);
    let mut own = MaskSeed { seed: world.sites[4].secret.own_mask(), sign: Sign::Minus };
    mask_packed(&world.ring, &mut late, 64, std::slice::from_ref(&own)).unwrap();
    assert_eq!(late, world.sites[4].clear, "only the own mask stood in between");
    own.sign = Sign::Plus;
    assert!(releases.iter().all(|r| r.own_mask.iter().all(|(of, _)| *of != 4)));
}

#[test]
fn coordinator_shows_different_survivors_to_different_sites() {
    let mut world = World::new(7, 32);
    let all = range(7);
    let session = world.set_up(&all, &all);
    let updates: Vec<_> = all.iter().map(|n| world.masked(&session, *n, &all).unwrap().0).collect();
    // Half are told that site 6 got lost, half that site 0 did: both sets are above the threshold.
    let without = |n: usize| {
        let left = updates.iter().filter(|u| u.site != n).cloned().collect();
        Survivors::new(&session, range(7), left).unwrap()
    };
    let (one, other) = (without(6), without(0));
    let sign = |world: &mut World, n: usize, set: &Survivors| {
        world.at(n, |c, j, _| c.confirm(&session, set, j))
    };
    let mut confirmations: Vec<_> = (0..3).map(|n| sign(&mut world, n, &one).unwrap()).collect();
    confirmations.extend((3..7).map(|n| sign(&mut world, n, &other).unwrap()));
    // Signatures over the other set do not count for this one, and without them they are too few.
    let error = world.at(1, |c, j, r| c.release(&session, &one, &confirmations, r, j)).unwrap_err();
    assert_eq!(error.code(), "CH1507");
    let error =
        world.at(1, |c, j, r| c.release(&session, &one, &confirmations[..3], r, j)).unwrap_err();
    assert_eq!(error, SecaggError::TooFew { found: 3, needed: 5 });
    // Repeating one site's signature does not help.
    let twice = vec![confirmations[1].clone(); 7];
    let error = world.at(1, |c, j, r| c.release(&session, &one, &twice, r, j)).unwrap_err();
    assert_eq!(error, SecaggError::TooFew { found: 1, needed: 5 });
    // Nor does asking a site to sign the other set too, or to release without having signed.
    assert_eq!(sign(&mut world, 1, &other).unwrap_err().code(), "CH1510");
    assert_eq!(sign(&mut world, 0, &other).unwrap_err().code(), "CH1513");
}

#[test]
fn coordinator_replays_a_round() {
    let mut world = World::new(3, 8);
    let all = range(3);
    let session = world.set_up(&all, &all);
    world.masked(&session, 0, &all).unwrap();
    // Another plan under the same number.
    let mut again = world.setting.clone();
    again.plan = [4; 32];
    let site = &world.sites[0];
    let error = Client::new(&again, &site.pseudonym, &site.secret, &site.key, &site.journal);
    assert_eq!(error.err(), Some(SecaggError::Replay { what: "its plan" }));
    // The same plan after the round is over for this site.
    world.sites[0].journal.close();
    let error = world.at(0, |c, _, _| Ok(c.advertise())).unwrap_err();
    assert_eq!(error, SecaggError::Replay { what: "it is over for this site" });
    // The same plan with another cohort of keys.
    let mut world = World::new(4, 8);
    world.set_up(&range(4), &range(4));
    let fewer = world.adverts(&[0, 1, 2]);
    let error = world.at(0, |c, j, _| c.enter(fewer, j)).unwrap_err();
    assert_eq!(error, SecaggError::Replay { what: "the keys of the cohort" });
}

#[test]
fn messages_of_another_round_are_refused() {
    let mut world = World::new(3, 8);
    let old = world.adverts(&range(3));
    world.setting.round = 2;
    let error = Session::open(world.setting.clone(), old).unwrap_err();
    assert_eq!(
        error,
        SecaggError::Signature { what: "the keys", pseudonym: "site-0000".to_owned() }
    );
}

#[test]
fn coordinator_swaps_a_sites_key() {
    let mut world = World::new(3, 8);
    let honest = world.adverts(&range(3));
    // A key of the coordinator's own in place of site 1's.
    let own = RoundSecret::from_bytes([0x77; 32]);
    let mut swapped = honest.clone();
    swapped[1].masking = own.masking().public();
    let error = world.at(0, |c, j, _| c.enter(swapped, j)).unwrap_err();
    assert_eq!(
        error,
        SecaggError::Signature { what: "the keys", pseudonym: "site-0001".to_owned() }
    );
    // The receiver's own keys, exchanged for older ones that it did sign.
    let older = {
        let site = &world.sites[0];
        let client =
            Client::new(&world.setting, &site.pseudonym, &own, &site.key, &site.journal).unwrap();
        client.advertise()
    };
    let mut exchanged = honest.clone();
    exchanged[0] = older;
    assert_eq!(world.at(0, |c, j, _| c.enter(exchanged, j)).unwrap_err(), SecaggError::OwnKeys);
    // One site's keys under another's name, and one site's keys twice.
    let mut copied = honest.clone();
    copied[2] = Advert { site: 2, ..honest[1].clone() };
    assert_eq!(world.at(0, |c, j, _| c.enter(copied, j)).unwrap_err().code(), "CH1507");
    let mut twice = honest.clone();
    twice.push(honest[1].clone());
    assert_eq!(world.at(0, |c, j, _| c.enter(twice, j)).unwrap_err().code(), "CH1506");
    // A site that reuses another's public keys under its own signature.
    let thief = World::client(&world.setting, &world.sites[2]);
    let mut stolen = honest.clone();
    stolen[2].encryption = honest[1].encryption;
    stolen[2].signature = Identity::sign(&world.sites[2].key, &stolen[2].message(&world.setting));
    assert_eq!(thief.site(), 2);
    assert_eq!(
        Session::open(world.setting.clone(), stolen).unwrap_err(),
        SecaggError::Keys { pseudonym: "site-0002".to_owned() }
    );
}

#[test]
fn coordinator_substitutes_the_roster() {
    let mut world = World::new(3, 8);
    let honest = world.adverts(&range(3));
    // Another identity in site 1's place: signatures over the old roster no longer hold for anyone.
    let intruder = World::new(5, 8).sites.remove(4);
    world.setting.roster[1].identity =
        ring::signature::KeyPair::public_key(&intruder.key).as_ref().try_into().unwrap();
    let error = Session::open(world.setting.clone(), honest).unwrap_err();
    assert_eq!(error.code(), "CH1507");
    // One key under two names.
    let mut setting = World::new(3, 8).setting;
    setting.roster[2].identity = setting.roster[1].identity;
    assert_eq!(setting.check().unwrap_err().code(), "CH1504");
}

#[test]
fn weak_plans_are_refused() {
    let mut setting = World::new(5, 8).setting;
    for (threshold, fine) in [(0, false), (2, false), (3, true), (5, true), (6, false)] {
        setting.threshold = threshold;
        assert_eq!(setting.check().is_ok(), fine, "{threshold}");
    }
    setting.roster.truncate(2);
    assert_eq!(setting.check().unwrap_err(), SecaggError::TooFew { found: 2, needed: 3 });
}

#[test]
fn a_site_hands_in_another_sites_update() {
    let mut world = World::new(3, 8);
    let all = range(3);
    let session = world.set_up(&all, &all);
    let (own, _) = world.masked(&session, 0, &all).unwrap();
    let (others, _) = world.masked(&session, 1, &all).unwrap();
    // Under its own name the signature does not fit.
    let copied = Survivor { site: 0, ..others.clone() };
    assert_eq!(session.check_update(&copied).unwrap_err().code(), "CH1507");
    // Signed anew, the same bytes cannot count twice.
    let mut signed = copied;
    signed.signature =
        Identity::sign(&world.sites[0].key, &session.update_message(0, &signed.update));
    session.check_update(&signed).unwrap();
    let third = world.masked(&session, 2, &all).unwrap().0;
    let error = Survivors::new(&session, all, vec![signed, others, third]).unwrap_err();
    assert_eq!(error, SecaggError::Twice { pseudonym: "site-0001".to_owned() });
    assert_ne!(own.update, ChunkRoot::of(&[]));
}

#[test]
fn coordinator_exchanges_an_update_in_the_set() {
    let mut world = World::new(3, 8);
    let all = range(3);
    let session = world.set_up(&all, &all);
    let updates: Vec<_> = all.iter().map(|n| world.masked(&session, *n, &all).unwrap().0).collect();
    let mut exchanged = updates.clone();
    exchanged[1].update = ChunkRoot([9; 32]);
    assert_eq!(Survivors::new(&session, all.clone(), exchanged).unwrap_err().code(), "CH1507");
    // A site signs one update per round, so that the difference of two is never seen.
    let error = world.at(0, |c, j, _| c.sign_update(&session, ChunkRoot([9; 32]), j)).unwrap_err();
    assert_eq!(error, SecaggError::Replay { what: "this site's masked update" });
}

#[test]
fn different_sharers_for_different_sites_are_found_out() {
    let mut world = World::new(5, 8);
    let all = range(5);
    let session = world.set_up(&all, &all);
    // Site 0 is told that site 4 never shared, so its update lacks that mask.
    let mut updates = vec![world.masked(&session, 0, &[0, 1, 2, 3]).unwrap().0];
    updates.extend((1..5).map(|n| world.masked(&session, n, &all).unwrap().0));
    let survivors = Survivors::new(&session, all, updates).unwrap();
    let error = world.at(0, |c, j, _| c.confirm(&session, &survivors, j)).unwrap_err();
    assert_eq!(error, SecaggError::Replay { what: "who shared secrets" });
}

#[test]
fn shares_that_were_tampered_with_are_named() {
    let mut world = World::new(3, 8);
    let all = range(3);
    let session = world.set_up(&all, &all);
    world.sites[0].received[1].bytes[5] ^= 1;
    let error = world.masked(&session, 0, &all).unwrap_err();
    assert_eq!(
        error,
        SecaggError::Sealed { from: "site-0002".to_owned(), to: "site-0000".to_owned() }
    );
    // Shares made for another site do not open here.
    let for_two = world.sites[2].received[1].clone();
    world.sites[0].received[0] = Sealed { to: 0, ..for_two };
    assert_eq!(world.masked(&session, 0, &all).unwrap_err().code(), "CH1511");
}

#[test]
fn wrong_answers_are_refused_or_passed_over() {
    let Confirmed { mut world, session, survivors, confirmations } = confirmed();
    let mut releases: Vec<_> = (0..4)
        .map(|n| {
            world.at(n, |c, j, r| c.release(&session, &survivors, &confirmations, r, j)).unwrap()
        })
        .collect();
    // Both kinds of share for one site.
    let mut both = releases[0].clone();
    both.masking.push(both.own_mask[1].clone());
    assert_eq!(
        both.check(&session, &survivors).unwrap_err(),
        SecaggError::Kind { pseudonym: "site-0000".to_owned() }
    );
    // A share that is not the one that was given.
    releases[0].own_mask[2].1 = Share::from_bytes([1; 32]);
    let error = Revealed::open(&session, &survivors, &releases).unwrap_err();
    assert_eq!(error, SecaggError::Reveal { pseudonym: "site-0002".to_owned() });
}

/// `threshold - 1` sites pool everything they hold of another one. Any value of its secret fits.
#[test]
fn colluders_below_the_threshold_learn_nothing() {
    let mut world = World::new(5, 8);
    let session = world.set_up(&range(5), &range(5));
    assert_eq!(session.threshold(), 4);
    let pooled: Vec<_> = (1..4)
        .map(|n| {
            let sealed = world.sites[n].received.iter().find(|s| s.from == 0).unwrap();
            let held = sealed.open(&session, &world.sites[n].secret.encryption()).unwrap();
            (session.place(0, n).unwrap(), held.own_mask)
        })
        .collect();
    let real = *world.sites[0].secret.own_mask().as_bytes();
    let known: Vec<_> = pooled.iter().map(|(place, share)| (*place, share)).collect();
    assert_ne!(join(&known).as_bytes(), &real);
    // With the fourth share taken at random the result runs through all values, the real one with
    // no more chance than any other: byte by byte the map from share to secret is a bijection.
    let mut seen = [false; 256];
    for guess in 0..=255u8 {
        let fourth = Share::from_bytes([guess; 32]);
        let mut four = known.clone();
        four.push((session.place(0, 4).unwrap(), &fourth));
        seen[usize::from(join(&four).as_bytes()[0])] = true;
    }
    assert!(seen.iter().all(|hit| *hit));
}
