//! The parts of the local mesh and what each is called. A part is either a process of its own or is hosted inside this one;
//! who starts which, and how, is `mesh`'s business.

use std::fmt;
use std::str::FromStr;

/// Something that can be started, stopped and killed by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Postgres,
    Redis,
    Mongo,
    /// The DynamoDB engine, hosted in this process.
    Dynamo,
    /// The token issuer, hosted in this process.
    Issuer,
    Ledger,
    Accounts,
    Cache,
    Docs,
    Edge,
}

impl Part {
    pub const ALL: [Self; 10] = [
        Self::Postgres,
        Self::Redis,
        Self::Mongo,
        Self::Dynamo,
        Self::Issuer,
        Self::Ledger,
        Self::Accounts,
        Self::Cache,
        Self::Docs,
        Self::Edge,
    ];

    /// The five binaries of Causeway, in the order they are stopped: the edge first, so that nothing is let in that would find
    /// its service gone.
    pub const WORKLOADS: [Self; 5] = [Self::Edge, Self::Docs, Self::Accounts, Self::Ledger, Self::Cache];

    /// The stores that are processes of their own.
    pub const STORES: [Self; 3] = [Self::Postgres, Self::Redis, Self::Mongo];

    /// What it is called on the command line, in messages, in file names and, for a workload, in its SPIFFE id.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Mongo => "mongo",
            Self::Dynamo => "dynamo",
            Self::Issuer => "issuer",
            Self::Ledger => "svc-ledger",
            Self::Accounts => "svc-accounts",
            Self::Cache => "svc-cache",
            Self::Docs => "svc-docs",
            Self::Edge => "edge",
        }
    }

    /// Whether it is one of the five binaries.
    #[must_use]
    pub fn is_workload(self) -> bool {
        Self::WORKLOADS.contains(&self)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|part| part.name() == name)
            .ok_or_else(|| anyhow::anyhow!("no part of the mesh is called {name}"))
    }
}
