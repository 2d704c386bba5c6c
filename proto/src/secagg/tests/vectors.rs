//! Known answers, and bad ones, from an independent implementation (`proto/testdata/secagg.py`).

use ring::signature::Ed25519KeyPair;
use serde::Deserialize;

use super::*;
use crate::codec::pack;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vectors {
    #[serde(with = "hex::serde")]
    plan: [u8; 32],
    run: String,
    round: u32,
    threshold: usize,
    ring_bits: u32,
    sites: Vec<VectorSite>,
    #[serde(with = "hex::serde")]
    session: [u8; 32],
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VectorSite {
    pseudonym: String,
    #[serde(with = "hex::serde")]
    identity: [u8; 32],
    #[serde(with = "hex::serde")]
    identity_seed: [u8; 32],
    #[serde(with = "hex::serde")]
    secret: [u8; 32],
    #[serde(with = "hex::serde")]
    own_mask: [u8; 32],
    advert: Advert,
    sealed: Vec<String>,
    update: VectorUpdate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorUpdate {
    values: Vec<u32>,
    masked: String,
    #[serde(with = "hex::serde")]
    root: [u8; 32],
    #[serde(with = "hex::serde")]
    signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    code: String,
    adverts: Vec<Advert>,
}

fn vectors() -> (Vectors, Setting) {
    let text = include_str!("../../../testdata/secagg.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let roster = vectors
        .sites
        .iter()
        .map(|site| Member { pseudonym: site.pseudonym.clone(), identity: site.identity })
        .collect();
    let setting = Setting {
        plan: vectors.plan,
        run: vectors.run.clone(),
        round: vectors.round,
        roster,
        threshold: vectors.threshold,
    };
    (vectors, setting)
}

#[test]
fn every_message_is_that_of_the_independent_implementation() {
    let (vectors, setting) = vectors();
    let ring = Ring { ring_bits: vectors.ring_bits, top: 1, clip: 1.0, weight_cap: 1 };
    let adverts: Vec<Advert> = vectors.sites.iter().map(|site| site.advert.clone()).collect();
    let all: Vec<usize> = (0..vectors.sites.len()).collect();
    let session = Session::open(setting.clone(), adverts.clone()).unwrap();
    assert_eq!(session.id(), &vectors.session);
    for (number, site) in vectors.sites.iter().enumerate() {
        let key = Ed25519KeyPair::from_seed_unchecked(&site.identity_seed).unwrap();
        let secret = RoundSecret::from_bytes(site.secret);
        assert_eq!(secret.own_mask().as_bytes(), &site.own_mask);
        let mut journal = Journal::new(&setting);
        let client = Client::new(&setting, &site.pseudonym, &secret, &key, &journal).unwrap();
        assert_eq!(client.advertise(), site.advert);
        assert_eq!(client.enter(adverts.clone(), &mut journal).unwrap(), session);
        let sealed: Vec<String> =
            client.share(&session).unwrap().iter().map(|s| hex::encode(&s.bytes)).collect();
        assert_eq!(sealed, site.sealed);

        let received: Vec<Sealed> = vectors
            .sites
            .iter()
            .enumerate()
            .filter(|(from, _)| *from != number)
            .map(|(from, other)| {
                let place = if number < from { number } else { number - 1 };
                let bytes = hex::decode(&other.sealed[place]).unwrap();
                Sealed { from, to: number, bytes }
            })
            .collect();
        let masks = client.masks(&session, &all, &received, &mut journal).unwrap();
        let elements = site.update.values.len() - 1;
        let mut packed = vec![0; ring.packed_len(elements)];
        pack(&site.update.values, ring.ring_bits, &mut packed);
        mask_packed(&ring, &mut packed, elements, &masks).unwrap();
        assert_eq!(hex::encode(&packed), site.update.masked);
        let root = ChunkRoot::of(&packed);
        assert_eq!(root.0, site.update.root);
        let signed = client.sign_update(&session, root, &mut journal).unwrap();
        assert_eq!(signed.signature, site.update.signature);
    }
}

#[test]
fn bad_cohorts_are_refused_with_their_codes() {
    let (vectors, setting) = vectors();
    assert!(vectors.bad.len() >= 8);
    for bad in vectors.bad {
        let error = Session::open(setting.clone(), bad.adverts).unwrap_err();
        assert_eq!(error.code(), bad.code, "{}: {error}", bad.name);
    }
}
