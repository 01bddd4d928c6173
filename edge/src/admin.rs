//! The edge's own pages on the admin listener: the route table and the configuration in force. Only loopback may read them.

use std::sync::Arc;

use chassis::admin::Admin;

use crate::check;
use crate::config::Config;
use crate::snapshot::Snapshot;

/// Adds `/routes` and `/config`. The configuration names the files of secrets and holds none.
#[must_use]
pub fn pages(admin: Admin, config: &Config, snapshot: &Snapshot) -> Admin {
    let routes = check::table(snapshot);
    let config = serde_json::to_string_pretty(config).unwrap_or_default();
    admin
        .page("/routes", Arc::new(move || ("text/plain", routes.clone())))
        .page("/config", Arc::new(move || ("application/json", config.clone())))
}
