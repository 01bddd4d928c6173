//! The DynamoDB engine for svc-accounts: the real HTTP API over a SQLite file, hosted in this process. It speaks no TLS and
//! checks no signatures, so it listens on loopback only.

use crate::hosted::Hosted;
use crate::site::Site;
use anyhow::{Context, Result};
use dynoxide::{Database, server};

pub(crate) fn start(site: &Site) -> Result<Hosted> {
    let path = site.state.store("dynamo.sqlite");
    let path = path.to_str().context("the state folder's path is not UTF-8")?;
    let database = Database::new(path).map_err(|error| anyhow::anyhow!("cannot open {path}: {error}"))?;
    Hosted::start(site.ports.dynamo, |listener| server::serve_on(listener, database))
}
