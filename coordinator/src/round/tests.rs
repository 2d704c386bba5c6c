use chancery_proto::secagg::Member;
use chancery_proto::{BaseShape, Moment, PrivacyMode, Recipe, SAMPLE};
use proptest::prelude::*;

use super::*;
use chancery_provenance::Score;

const LEASE: u64 = 1_000;
const DEADLINE: u64 = 60_000;

fn round(sites: usize, quorum: u32) -> Round {
    let mut recipe = Recipe::from_toml(SAMPLE).unwrap();
    recipe.federation.quorum = quorum;
    recipe.privacy.mode = PrivacyMode::Trusted;
    let base_shape = BaseShape {
        hidden_size: 4,
        intermediate_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 2,
    };
    let member = |site| Member { pseudonym: format!("s{site}"), identity: [site as u8; 32] };
    let moment = Moment {
        run: "r".to_owned(),
        round: 1,
        base_shape,
        adapter_digest: String::new(),
        roster: (0..sites).map(|site| (member(site), None)).collect(),
        samples: 100,
        sketch: None,
    };
    let plan = Plan::new(&recipe, moment);
    Round::new(plan, DEADLINE, LEASE, 0)
}

fn update(digest: &str) -> Update {
    Update {
        digest: digest.to_owned(),
        chunk_root: String::new(),
        chunk_signature: String::new(),
        statement: String::new(),
        loss: 1.0,
        quantisation_error: 0.0,
    }
}

fn scores() -> Scores {
    Scores { adapter: Score { loss: 1.0, accuracy: 0.5, examples: 10 }, base: None }
}

fn handed(site: &str, lease: String, handed: Handed) -> Event {
    Event::Handed { site: site.to_owned(), lease, handed }
}

fn summed() -> Event {
    let sum = Sum { adapter: "a".to_owned(), ..Sum::default() };
    Event::Aggregated { sum }
}

trait Story: Sized {
    fn then(self, event: Event, at: u64) -> Self;
    fn trains(self, site: &str, at: u64) -> Self;
    fn evaluates(self, site: &str, at: u64) -> Self;
}

impl Story for Round {
    fn then(self, event: Event, at: u64) -> Self {
        self.apply(event, at).unwrap().round
    }

    fn trains(self, site: &str, at: u64) -> Self {
        let (site, lease) = (site.to_owned(), format!("lease of {site} at {at}"));
        self.then(Event::TaskRequested { site: site.clone(), lease: lease.clone() }, at)
            .then(handed(&site, lease, Handed::Update(update(&site))), at)
    }

    fn evaluates(self, site: &str, at: u64) -> Self {
        let (site, lease) = (site.to_owned(), format!("lease of {site} at {at}"));
        self.then(Event::TaskRequested { site: site.clone(), lease: lease.clone() }, at)
            .then(handed(&site, lease, Handed::Scores(scores())), at)
    }
}

#[test]
fn three_sites_train_and_evaluate() {
    let round = round(3, 2).trains("s0", 1).trains("s1", 2);
    assert_eq!(round.phase.name(), "training");
    let round = round.trains("s2", 3);
    assert_eq!(round.phase.name(), "aggregating");
    let round = round.then(summed(), 4);
    let round = round.evaluates("s0", 5).evaluates("s1", 5).evaluates("s2", 6);
    let Phase::Succeeded { updates, scores, .. } = round.phase else { panic!("{round:?}") };
    assert_eq!((updates.len(), scores.len()), (3, 3));
}

#[test]
fn a_silent_site_is_lost_and_the_quorum_goes_on() {
    let round = round(3, 2).trains("s0", 1).trains("s1", 2);
    assert_eq!(round.deadline(), Some(LEASE));
    assert_eq!(round.then(Event::Tick, LEASE).phase.name(), "aggregating");
}

#[test]
fn progress_keeps_a_slow_site_alive() {
    let lease = "l".to_owned();
    let mut round = round(2, 2)
        .trains("s0", 1)
        .then(Event::TaskRequested { site: "s1".to_owned(), lease: lease.clone() }, 1);
    for at in (500..DEADLINE - 1).step_by(500) {
        let report = Report::default();
        let (site, lease) = ("s1".to_owned(), lease.clone());
        round = round.then(Event::Progress { site, lease, report }, at);
        assert_eq!(round.phase.name(), "training");
    }
}

#[test]
fn a_lost_site_may_come_back_while_the_phase_is_open() {
    let round = round(3, 3).trains("s0", 1).trains("s1", 1).then(Event::Tick, 2 * LEASE);
    assert_eq!(round.phase.name(), "training");
    assert_eq!(round.trains("s2", 3 * LEASE).phase.name(), "aggregating");
}

#[test]
fn without_a_quorum_the_deadline_fails_the_round() {
    let round = round(3, 2).trains("s0", 1).then(Event::Tick, DEADLINE);
    assert!(matches!(round.phase, Phase::Failed { .. }));
}

#[test]
fn what_does_not_count_is_refused_by_code() {
    let submit = |round: Round, site: &str, lease: &str, digest: &str| {
        let event = handed(site, lease.to_owned(), Handed::Update(update(digest)));
        round.apply(event, 5).map(|step| step.answer).map_err(|reject| reject.code())
    };
    let round = round(2, 2).trains("s0", 1);
    assert_eq!(submit(round.clone(), "s9", "x", "u"), Err("CH3101"));
    assert_eq!(submit(round.clone(), "s1", "stolen", "u"), Err("CH3102"));
    assert_eq!(submit(round.clone(), "s0", "x", "s0"), Ok(Answer::Known));
    assert_eq!(submit(round.clone(), "s0", "x", "other"), Err("CH3104"));
    let stopped = round.then(Event::Stop { why: "enough".to_owned() }, 4);
    assert_eq!(submit(stopped, "s1", "x", "u"), Err("CH3103"));
}

fn event() -> impl Strategy<Value = Event> {
    let site = (0usize..4).prop_map(|site| format!("s{site}"));
    let lease = (0usize..3).prop_map(|lease| format!("l{lease}"));
    (site, lease, 0usize..6).prop_map(|(site, lease, kind)| match kind {
        0 => Event::TaskRequested { site, lease },
        1 => Event::Progress { site, lease, report: Report::default() },
        2 => handed(&site, lease, Handed::Update(update(&site))),
        3 => summed(),
        4 => handed(&site, lease, Handed::Scores(scores())),
        _ => Event::Tick,
    })
}

proptest! {
    #[test]
    fn any_story_ends_in_a_recorded_state(
        events in prop::collection::vec((event(), 0u64..400), 0..120),
    ) {
        let mut round = round(3, 2);
        let mut at = 0;
        for (event, later) in events {
            at += later;
            if let Ok(step) = round.clone().apply(event, at) {
                round = step.round;
            }
            if let Phase::Aggregating { updates, .. } = &round.phase {
                prop_assert!(updates.len() >= 2 && updates.len() <= 3);
            }
        }
        round = round.then(Event::Tick, at + DEADLINE + 1);
        round = round.then(summed(), at + DEADLINE + 2);
        round = round.then(Event::Tick, at + 3 * DEADLINE);
        let over = matches!(round.phase, Phase::Succeeded { .. } | Phase::Failed { .. });
        prop_assert!(over);
    }
}
