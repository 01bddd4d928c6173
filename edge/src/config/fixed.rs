//! What a running edge cannot change: it is bound, loaded or begun once. A reload that asks for it is refused by name, because
//! an operator who is told "reloaded" believes that all of the file holds.

use serde_json::Value;

use super::Config;

/// The tables that hold for the life of the process.
const TABLES: [&str; 9] = [
    "listener",
    "admin",
    "identity",
    "transaction_tokens",
    "providers",
    "drain",
    "telemetry",
    "access_log",
    "reload",
];

/// And of other tables these keys.
const KEYS: [(&str, &str); 3] =
    [("rate_limits", "entries_max"), ("rate_limits", "report_ms"), ("rate_limits", "secret_file")];

impl Config {
    /// The keys in which `new` differs from this one and which only a restart can change, as they are written in the file.
    ///
    /// # Errors
    /// When a configuration cannot be printed, which its types rule out.
    pub fn needs_restart(&self, new: &Self) -> Result<Vec<String>, serde_json::Error> {
        let (old, new) = (serde_json::to_value(self)?, serde_json::to_value(new)?);
        let mut keys = Vec::new();
        for table in TABLES {
            differences(table, &old[table], &new[table], &mut keys);
        }
        for (table, key) in KEYS {
            differences(&format!("{table}.{key}"), &old[table][key], &new[table][key], &mut keys);
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
