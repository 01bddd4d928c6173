//! The route table: what `edge check` prints and `/routes` shows. Every method once for each way to call it, with who may. What
//! is printed is what is served; it is made from the same plan.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::contract::Method;
use crate::policy::{Bounds, Listener};
use crate::snapshot::Plan;

/// Prints the table to the standard output.
#[must_use]
pub fn print(plan: &Plan) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(table(plan).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The table, one line a route: verb, template, RPC, upstream, listeners, principals, scopes, bounds.
#[must_use]
pub fn table(plan: &Plan) -> String {
    let mut rows = vec![
        ["VERB", "TEMPLATE", "RPC", "UPSTREAM", "LISTENERS", "WHO", "SCOPES", "TIME"].map(str::to_owned),
    ];
    let contract = &plan.contract;
    for method in contract.methods() {
        rows.push(row("gRPC", "-", method));
        let bindings = contract.bindings().filter(|(of, _)| of.path == method.path);
        rows.extend(bindings.map(|(_, binding)| row(binding.http_method(), binding.template(), method)));
    }
    layout(&rows)
}

fn row(verb: &str, template: &str, method: &Method) -> [String; 8] {
    let policy = &method.policy;
    let listeners = [Listener::Public, Listener::Partner, Listener::Mesh];
    let listeners =
        listeners.into_iter().filter(|listener| policy.visible_on(*listener)).map(Listener::as_str);
    let allow = policy.allow;
    let kinds = [
        (allow.subject, "subject"),
        (allow.partner, "partner"),
        (allow.service, "service"),
        (allow.anonymous, "anonymous"),
    ];
    let who = kinds.into_iter().filter(|(allowed, _)| *allowed).map(|(_, kind)| kind.to_owned());
    let who = who.chain(policy.services.iter().map(|service| format!("@{service}")));
    let time = match policy.bounds {
        Bounds::Unary { default, max } => format!("{}s/{}s", default.as_secs_f32(), max.as_secs_f32()),
        Bounds::Stream { idle, max_age } => {
            format!("idle {}s/{}s", idle.as_secs_f32(), max_age.as_secs_f32())
        }
    };
    [
        verb.to_owned(),
        template.to_owned(),
        method.path.trim_start_matches('/').to_owned(),
        method.upstream.to_string(),
        listeners.collect::<Vec<_>>().join(","),
        who.collect::<Vec<_>>().join(","),
        policy.any_scope.iter().cloned().collect::<Vec<_>>().join(","),
        time,
    ]
}

/// Columns as wide as their widest cell; an empty cell is a dash, so that the table can be cut at spaces.
fn layout(rows: &[[String; 8]]) -> String {
    let mut widths = [1; 8];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let cell = if cell.is_empty() { "-" } else { cell };
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_cells_show() {
        let row = |first: &str, last: &str| {
            let mut row = std::array::from_fn(|_| "x".to_owned());
            row[0] = first.to_owned();
            row[7] = last.to_owned();
            row
        };
        assert_eq!(
            layout(&[row("GET", "1s"), row("", "")]),
            "GET  x  x  x  x  x  x  1s\n-    x  x  x  x  x  x  -\n"
        );
    }
}
