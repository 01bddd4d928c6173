//! What a running edge cannot change: it is bound, loaded or begun once. A reload that asks for it is refused by name, because
//! an operator who is told "reloaded" believes that all of the file holds.

use serde_json::Value;

use super::Config;

/// What holds for the life of the process: tables, and single keys of others.
const FIXED: [&str; 14] = [
    "listener",
    "overload",
    "admin",
    "identity",
    "transaction_tokens",
    "drain",
    "telemetry",
    "access_log",
    "reload",
    // Its task and its memory are begun once.
    "rate_limits.entries_max",
    "rate_limits.report_ms",
    "rate_limits.secret_file",
    // Their tasks are begun once; the upstreams they go by may change.
    "providers",
    // Pingora takes it by reference, once for all connections.
    "limits.idle_ms",
];

impl Config {
    /// The keys in which `new` differs from this one and which only a restart can change, as they are written in the file.
    ///
    /// # Errors
    /// When a configuration cannot be printed, which its types rule out.
    pub fn needs_restart(&self, new: &Self) -> Result<Vec<String>, serde_json::Error> {
        let (old, new) = (serde_json::to_value(self)?, serde_json::to_value(new)?);
        let mut keys = Vec::new();
        for path in FIXED {
            let at = |config: &Value| path.split('.').fold(config.clone(), |value, name| value[name].clone());
            differences(path, &at(&old), &at(&new), &mut keys);
        }
        Ok(keys)
    }
}

/// Adds the paths of what differs: of two tables their keys, otherwise the whole.
fn differences(path: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return keys.push(path.to_owned()) };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = |table: &serde_json::Map<String, Value>| table.get(name).cloned().unwrap_or_default();
        differences(&format!("{path}.{name}"), &of(old), &of(new), keys);
    }
}
