//! The configuration files of the five processes, generated anew at every start. They are what an operator would write by
//! hand; a caller may lay TOML of its own over each, to test a bound or to put a foreign service behind the edge.

mod edge;
mod services;

use crate::part::Part;
use crate::site::Site;
use crate::state;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Table;

/// Writes one process's file and returns its path.
pub(crate) fn write(site: &Site, part: Part, overlays: &BTreeMap<Part, Table>) -> Result<PathBuf> {
    let generated = match part {
        Part::Edge => edge::config(site)?,
        Part::Ledger => services::ledger(site),
        Part::Accounts => services::accounts(site),
        Part::Cache => services::cache(site),
        Part::Docs => services::docs(site),
        Part::Postgres | Part::Redis | Part::Mongo | Part::Dynamo | Part::Issuer => json!({}),
    };
    let mut table = Table::try_from(generated).context("cannot turn the configuration into TOML")?;
    if let Some(overlay) = overlays.get(&part) {
        merge(&mut table, overlay.clone());
    }
    let path = site.state.config(&format!("{part}.toml"));
    state::write_private(&path, toml::to_string_pretty(&table)?)?;
    Ok(path)
}

/// `[identity]`, which every process has.
fn identity(site: &Site, part: Part) -> Value {
    let files = site.pki.workload(part);
    json!({
        "certificate": files.certificate,
        "key": files.key,
        "trust_bundle": site.pki.workload_authority.certificate,
        "trust_domain": crate::pki::TRUST_DOMAIN,
    })
}

/// Lays one table over another: tables are merged; of arrays of tables (`[[upstream]]`) those with the same name are, and the others
/// appended; anything else is replaced.
fn merge(base: &mut Table, overlay: Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(value)) => merge(base, value),
            (Some(toml::Value::Array(base)), toml::Value::Array(value))
                if value.iter().all(toml::Value::is_table) =>
            {
                for value in value {
                    lay(base, value);
                }
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Merges a table into the one of its name, or appends it.
fn lay(base: &mut Vec<toml::Value>, value: toml::Value) {
    let same = base.iter_mut().find(|it| it.get("name").is_some() && it.get("name") == value.get("name"));
    match (same, value) {
        (Some(toml::Value::Table(base)), toml::Value::Table(value)) => merge(base, value),
        (_, value) => base.push(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_merges_tables_and_upstreams_of_a_name_appends_others_and_replaces_the_rest() {
        let mut base: Table = toml::from_str(
            "[limits]\nbody = 1\nheader = 2\n[[upstream]]\nname = 'one'\nstreams = 1\nsize = 1\n[server]\nports = [1, 2]\n",
        )
        .unwrap();
        let overlay = "[limits]\nbody = 9\n[[upstream]]\nname = 'two'\n[[upstream]]\nname = 'one'\nsize = 2\n[server]\nports = [3]\n";
        merge(&mut base, toml::from_str(overlay).unwrap());
        let expect = "[limits]\nbody = 9\nheader = 2\n[[upstream]]\nname = 'one'\nstreams = 1\nsize = 2\n[[upstream]]\nname = 'two'\n[server]\nports = [3]\n";
        assert_eq!(base, toml::from_str::<Table>(expect).unwrap());
    }
}
