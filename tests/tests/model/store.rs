//! A few sequences through the real store on PostgreSQL, unit by unit, beside the same through the store of maps at the same
//! times: what is answered, the tables, and the hash of the chain, and so every byte of every row, have to be the same. Times of
//! scripts are hours here, so that none is over before the test is; what time does is for the maps, and for the tests of the store.

use chassis::drain::Drain;
use chassis::health::Health;
use chassis::metrics::Metrics;
use e2e::oracle::Expected;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sqlx::PgConnection;
use svc_ledger::domain::command::Unit;
use svc_ledger::domain::verdict::Outcome;
use svc_ledger::store::Store;

use super::memory::Memory;
use super::postgres::Postgres;
use super::script::{Step, steps};
use super::world::World;

const HOUR: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_leaves_what_the_maps_leave() {
    let server = Postgres::start().await;
    let (drain, health) = (Drain::default(), Health::default());
    let store = Store::start(&server.config(), &drain, &health, &Metrics::default()).await.unwrap();
    let mut root = server.superuser("ledger").await;
    let now = chrono::Utc::now().timestamp_millis();
    let mut pair = Pair { world: World::at(now, HOUR), store, root: &mut root };
    for units in pair.world.beginning() {
        pair.submit(units).await;
    }
    let funding = pair.world.funding();
    pair.submit(funding).await;
    // The same scripts in every run: what is random is the maps' to find.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..250 {
        let step = steps().new_tree(&mut runner).unwrap().current();
        if matches!(step, Step::Tick(_)) {
            continue;
        }
        let units = pair.world.units(&step).unwrap();
        pair.submit(units).await;
    }
    pair.compare().await;
    drain.stop();
    assert!(drain.finished(std::time::Duration::from_secs(10)).await);
}

struct Pair<'a> {
    world: World,
    store: Store,
    root: &'a mut PgConnection,
}

impl Pair<'_> {
    async fn submit(&mut self, units: Vec<Unit>) {
        for unit in units.into_iter().filter(|unit| !unit.commands.is_empty()) {
            let before = self.world.memory.head.seq;
            let verdicts = self.store.submit_unit(unit.clone()).await.unwrap();
            let (seq, hash, booked_at): (i64, Vec<u8>, i64) = sqlx::query_as(
                "SELECT seq, hash, (extract(epoch FROM booked_at) * 1000)::bigint FROM ledger.head",
            )
            .fetch_one(&mut *self.root)
            .await
            .unwrap();
            // The maps are judged at the time that the store's batch had. One without a row leaves its time nowhere, and
            // nothing depends on it.
            if seq > before {
                self.world.memory.head.now = booked_at;
            }
            let judged = self.world.run(std::slice::from_ref(&unit));
            for (store, maps) in verdicts.iter().zip(&judged.verdicts) {
                assert_eq!(Expected::of(store), Expected::of(maps), "the store, and the maps: {unit:#?}");
                assert_eq!(store.made(), maps.made());
            }
            let head = self.world.memory.head;
            assert_eq!((seq, &hash[..]), (head.seq, &head.hash[..]), "the chain: {unit:#?}");
        }
        self.world.check();
    }

    async fn compare(&mut self) {
        let memory = self.world.memory.clone();
        let tables = [
            (ACCOUNT, accounts(&memory)),
            (HOLD, holds(&memory)),
            (GRANT, grants(&memory)),
            (REVERSAL, reversals(&memory)),
            (OUTCOME, outcomes(&memory)),
            (PERIOD, periods(&memory)),
        ];
        for (query, mut expect) in tables {
            let mut found: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut *self.root).await.unwrap();
            assert!(!found.is_empty(), "a table that the scripts never reach proves nothing: {query}");
            found.sort_unstable();
            expect.sort_unstable();
            assert_eq!(found, expect, "{query}");
        }
    }
}

const ACCOUNT: &str = "SELECT concat_ws('|', no, id, currency, purpose, type, gl_code, coalesce(min_available::text, '-'), \
    coalesce(max_balance::text, '-'), state, state_revision, version, dr_posted, cr_posted, dr_pending, cr_pending) FROM ledger.account";
const HOLD: &str = "SELECT concat_ws('|', id, encode(creator, 'hex'), dr, cr, amount, remaining, captured, state, external::int, \
    exchange::int, coalesce(link::text, '-'), value_date, coalesce(consent::text, '-'), \
    coalesce(((extract(epoch FROM expires_at) * 1000)::bigint)::text, '-'), coalesce(resolved_by::text, '-')) FROM ledger.hold";
const GRANT: &str = "SELECT concat_ws('|', consent, account, partner, scopes, coalesce(per_transfer_max::text, '-'), \
    coalesce(total_max::text, '-'), used, (extract(epoch FROM expires_at) * 1000)::bigint, revision) FROM ledger.\"grant\"";
const REVERSAL: &str = "SELECT concat_ws('|', transfer, reversed_by) FROM ledger.reversal";
const OUTCOME: &str = "SELECT concat_ws('|', encode(scope, 'hex'), request_id, encode(body_hash, 'hex'), verdict, \
    coalesce(row_id::text, '-')) FROM ledger.outcome";
const PERIOD: &str = "SELECT concat_ws('|', end_date, seq, encode(trial_balance, 'hex')) FROM ledger.period";

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn accounts(memory: &Memory) -> Vec<String> {
    let line = |account: &svc_ledger::domain::account::Account| {
        let totals = account.totals;
        [
            account.no.to_string(),
            account.id.to_string(),
            account.currency.numeric().to_string(),
            (account.purpose as i16).to_string(),
            (account.chart.kind as i16).to_string(),
            account.chart.gl_code.to_string(),
            or_dash(account.floor),
            or_dash(account.ceiling),
            (account.state as i16).to_string(),
            account.state_revision.to_string(),
            account.version.to_string(),
            totals.dr_posted.to_string(),
            totals.cr_posted.to_string(),
            totals.dr_pending.to_string(),
            totals.cr_pending.to_string(),
        ]
        .join("|")
    };
    memory.accounts.values().map(line).collect()
}

fn holds(memory: &Memory) -> Vec<String> {
    let line = |(id, hold): (&uuid::Uuid, &svc_ledger::domain::view::Hold)| {
        [
            id.to_string(),
            hex(hold.creator.as_bytes()),
            hold.debit.to_string(),
            hold.credit.to_string(),
            hold.amount.to_string(),
            hold.remaining.to_string(),
            hold.captured.to_string(),
            (hold.state as i16).to_string(),
            i32::from(hold.external).to_string(),
            i32::from(hold.exchange).to_string(),
            or_dash(hold.link),
            hold.value_date.to_string(),
            or_dash(hold.consent),
            or_dash(hold.expires_at),
            or_dash(hold.resolved_by),
        ]
        .join("|")
    };
    memory.holds.iter().map(line).collect()
}

fn grants(memory: &Memory) -> Vec<String> {
    let line = |grant: &svc_ledger::domain::grant::Grant| {
        let terms = &grant.terms;
        [
            terms.consent.to_string(),
            grant.account.to_string(),
            terms.partner.clone(),
            terms.scopes.bits().to_string(),
            or_dash(terms.per_transfer_max.map(|cap| cap.minor_units())),
            or_dash(terms.total_max.map(|cap| cap.minor_units())),
            grant.used.to_string(),
            terms.expires_at.to_string(),
            terms.revision.to_string(),
        ]
        .join("|")
    };
    memory.grants.values().map(line).collect()
}

fn reversals(memory: &Memory) -> Vec<String> {
    memory.reversals.iter().map(|(transfer, by)| format!("{transfer}|{by}")).collect()
}

fn outcomes(memory: &Memory) -> Vec<String> {
    let line = |(key, (body, outcome)): (
        &svc_ledger::domain::request::Key,
        &(svc_ledger::domain::request::BodyHash, Outcome),
    )| {
        let (verdict, row) = match outcome {
            Outcome::Accepted(row) => (0, row.to_string()),
            Outcome::Refused(refusal) => (*refusal as i16, "-".to_owned()),
        };
        let scope = hex(key.scope.as_bytes());
        format!("{scope}|{}|{}|{verdict}|{row}", key.request_id, hex(body.as_bytes()))
    };
    memory.outcomes.iter().map(line).collect()
}

fn periods(memory: &Memory) -> Vec<String> {
    let line = |period: &svc_ledger::domain::period::Period| {
        format!("{}|{}|{}", period.end_date, period.seq, hex(&period.trial_balance))
    };
    memory.periods.iter().map(line).collect()
}
