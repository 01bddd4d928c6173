//! The rows of the comparison: what was measured in each round, the ratios from inside a round, the table and the file.

use chrono::Utc;
use serde_json::{Value, json};

use crate::baselines::Baseline;
use crate::load::Measured;
use crate::rival::Rival;
use crate::spread::Spread;

/// How a transfer comes to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Api,
    /// With a text both parties read.
    ApiWithText,
    Grpc,
    Rest,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Api => "Rust API",
            Self::ApiWithText => "Rust API, with a text",
            Self::Grpc => "gRPC, edge",
            Self::Rest => "REST, edge",
        }
    }
}

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Baseline(Baseline),
    Rival(Rival),
    Ledger(Way, Spread, usize),
}

impl Subject {
    pub fn name(self) -> String {
        match self {
            Self::Baseline(baseline) => baseline.name().to_owned(),
            Self::Rival(rival) => rival.name(),
            Self::Ledger(way, spread, _) => format!("{}, {}", way.name(), spread.name()),
        }
    }

    const fn in_flight(self) -> usize {
        match self {
            Self::Baseline(_) => crate::baselines::CLIENTS,
            Self::Rival(rival) => rival.in_flight(),
            Self::Ledger(_, _, in_flight) => in_flight,
        }
    }

    /// The naive design and the one-call design under the same spread. There is none under Zipf's law: uniform, which is faster.
    const fn rivals(self) -> Option<(Baseline, Baseline)> {
        let spread = match self {
            Self::Baseline(_) => return None,
            Self::Rival(rival) => rival.spread,
            Self::Ledger(_, spread, _) => spread,
        };
        Some(match spread {
            Spread::Uniform | Spread::Zipf => (Baseline::NaiveUniform, Baseline::CallUniform),
            Spread::Hot => (Baseline::NaiveHot, Baseline::CallHot),
        })
    }

    /// The ratio to the naive design that the ledger is to reach.
    const fn goal(self) -> Option<f64> {
        match self {
            Self::Ledger(Way::Api, Spread::Uniform, 2_000) => Some(8.0),
            Self::Ledger(Way::Api, Spread::Hot, 2_000) => Some(75.0),
            Self::Ledger(Way::Api, Spread::Hot, 32) => Some(15.0),
            Self::Baseline(_) | Self::Rival(_) | Self::Ledger(..) => None,
        }
    }
}

/// One measurement of a row.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub measured: Measured,
    /// Audit events that were not yet shipped when the row ended.
    pub unshipped: i64,
}

/// A row, measured once a round.
#[derive(Debug)]
pub struct Row {
    pub subject: Subject,
    pub rounds: Vec<Round>,
}

impl Row {
    fn mean(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        self.rounds.iter().map(|round| of(&round.measured)).sum::<f64>() / self.rounds.len() as f64
    }

    /// The mean over the rounds of the quotient of this row and another in the same round.
    fn ratio(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let quotients = pairs.map(|(ours, theirs)| ours.measured.per_second() / theirs.measured.per_second());
        quotients.sum::<f64>() / self.rounds.len() as f64
    }

    fn cost(&self, of: impl Fn(&Measured) -> Option<std::time::Duration>) -> Option<f64> {
        of(&self.rounds[0].measured)?;
        Some(self.mean(|measured| measured.cost_us(of(measured).unwrap_or_default())))
    }
}

/// All rows of a run.
pub struct Table {
    pub rows: Vec<Row>,
    /// What holds for all of it.
    pub conditions: Value,
}

impl Table {
    fn of(&self, baseline: Baseline) -> Option<&Row> {
        self.rows.iter().find(|row| row.subject == Subject::Baseline(baseline))
    }

    /// How often a row is as fast as the naive design, the one-call design and TPC-B.
    fn ratios(&self, row: &Row) -> Option<[f64; 3]> {
        let (naive, call) = row.subject.rivals()?;
        let to = |baseline| self.of(baseline).map(|other| row.ratio(other));
        Some([to(naive)?, to(call)?, to(Baseline::TpcB)?])
    }

    /// As Markdown.
    pub fn print(&self) -> String {
        let mut text = "| row | in flight | transfers/s | p50 / p99 ms | PG us | service us | edge us | WAL B | x naive | x one call | x TPC-B | goal |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for row in &self.rows {
            let optional = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
            let ratios = self.ratios(row);
            let ratio = |place: usize| optional(ratios.map(|ratios| ratios[place]));
            let goal = row.subject.goal().map_or_else(String::new, |goal| format!("{goal}"));
            text += &format!(
                "| {} | {} | {:.0} | {:.1} / {:.1} | {:.1} | {} | {} | {:.0} | {} | {} | {} | {goal} |\n",
                row.subject.name(),
                row.subject.in_flight(),
                row.mean(Measured::per_second),
                row.mean(|measured| measured.p50_ms),
                row.mean(|measured| measured.p99_ms),
                row.mean(|measured| measured.cost_us(measured.postgres.cpu)),
                optional(row.cost(|measured| measured.service)),
                optional(row.cost(|measured| measured.edge)),
                row.mean(Measured::wal_bytes),
                ratio(0),
                ratio(1),
                ratio(2),
            );
        }
        text
    }

    /// The goals that were missed, a line each.
    pub fn missed(&self) -> Vec<String> {
        let missed = |row: &Row| {
            let (goal, ratio) = (row.subject.goal()?, self.ratios(row)?[0]);
            let what = format!("{} at {} in flight", row.subject.name(), row.subject.in_flight());
            (ratio < goal)
                .then(|| format!("{what}: {ratio:.1} times the naive design, less than the goal of {goal}"))
        };
        self.rows.iter().filter_map(missed).collect()
    }

    /// As it is kept in docs/benchmarks.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row(row)).collect();
        json!({ "date": Utc::now().date_naive(), "conditions": self.conditions, "rows": rows, "missed": self.missed() })
    }

    fn row(&self, row: &Row) -> Value {
        let rounds: Vec<f64> = row.rounds.iter().map(|round| round.measured.per_second().round()).collect();
        let ratios = self.ratios(row).map(|ratios| {
            let [naive, call, tpc_b] = ratios.map(rounded);
            json!({ "naive": naive, "one_call": call, "tpc_b": tpc_b, "goal_naive": row.subject.goal() })
        });
        let unshipped = row.rounds.iter().map(|round| round.unshipped).max();
        json!({
            "row": row.subject.name(),
            "in_flight": row.subject.in_flight(),
            "transfers_per_second": row.mean(Measured::per_second).round(),
            "transfers_per_second_by_round": rounds,
            "p50_ms": rounded(row.mean(|measured| measured.p50_ms)),
            "p99_ms": rounded(row.mean(|measured| measured.p99_ms)),
            "postgres_cpu_us": rounded(row.mean(|measured| measured.cost_us(measured.postgres.cpu))),
            "service_cpu_us": row.cost(|measured| measured.service).map(rounded),
            "edge_cpu_us": row.cost(|measured| measured.edge).map(rounded),
            "wal_bytes": row.mean(Measured::wal_bytes).round(),
            "events_unshipped_at_end": unshipped,
            "times": ratios,
        })
    }
}

pub fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
