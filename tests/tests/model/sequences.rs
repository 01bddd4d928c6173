//! Sequences against the judge and the store of maps. The reference's state is empty: which steps make sense depends on ids that
//! only the ledger gives, so steps are symbolic and any sequence of them is one. The oracle runs beside the ledger.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use svc_ledger::domain::verdict::{Refusal, Verdict};

use super::script::{Step, steps};
use super::world::World;

/// Noon of a day.
const NOW: i64 = 1_750_000_000_000 - 1_750_000_000_000 % 86_400_000 + 43_200_000;

/// What is asked.
pub struct Script;

impl ReferenceStateMachine for Script {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        steps().boxed()
    }

    fn apply((): (), _: &Step) {}
}

/// Who answers.
pub struct Ledger;

impl StateMachineTest for Ledger {
    type SystemUnderTest = World;
    type Reference = Script;

    fn init_test((): &()) -> World {
        let mut world = World::at(NOW, 1);
        for units in world.beginning() {
            world.run(&units);
        }
        let funding = world.funding();
        world.run(&funding);
        world
    }

    fn apply(mut world: World, (): &(), step: Step) -> World {
        if let Some(units) = world.units(&step) {
            let units: Vec<_> = units.into_iter().filter(|unit| !unit.commands.is_empty()).collect();
            if !units.is_empty() {
                world.run(&units);
            }
        }
        world
    }

    fn check_invariants(world: &World, (): &()) {
        world.check();
    }
}

prop_state_machine! {
    #![proptest_config(Config {
        cases: 256,
        max_shrink_iters: 4_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model/regressions.txt"))),
        ..Config::default()
    })]

    #[test]
    fn the_judge_agrees_with_the_oracle_and_keeps_its_promises(sequential 1..40 => Ledger);
}

/// A test that is asked for nothing much finds nothing: what scripts come to, over a fixed run of them, is everything that can be.
#[test]
fn scripts_reach_every_verdict() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..50 {
        let mut world = Ledger::init_test(&());
        for _ in 0..60 {
            let step = steps().new_tree(&mut runner).unwrap().current();
            let Some(units) = world.units(&step) else { continue };
            for verdict in world.run(&units).verdicts {
                *reached.entry(name(&verdict)).or_default() += 1;
            }
        }
    }
    let refusals = (1..=28).map(|number| format!("{:?}", Refusal::from_number(number).unwrap()));
    let others = [
        "Opened",
        "Set",
        "Granted",
        "Booked",
        "Recorded",
        "WouldBecome",
        "Closed",
        "Expired",
        "NotAttempted",
        "BodyChanged",
        "AccountExists",
        "NoAccount",
        "AccountClosed",
        "AccountNotEmpty",
        "LimitBreached",
        "GrantExists",
        "StaleRevision",
    ];
    let all = refusals.chain(others.map(str::to_owned));
    let missing: Vec<String> = all.filter(|name| reached.get(name).is_none_or(|times| *times < 3)).collect();
    assert!(missing.is_empty(), "never, or hardly ever: {missing:?}; of {reached:#?}");
}

/// The name of a refusal, or of another verdict.
fn name(verdict: &Verdict) -> String {
    if let Verdict::Refused(refusal) = verdict {
        return format!("{refusal:?}");
    }
    let text = format!("{verdict:?}");
    text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
