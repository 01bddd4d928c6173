//! Turns `host:port` into addresses, again and again in the background, so that no call ever waits for DNS. The system's
//! resolver is asked: it reads the same hosts file, search list and name service switch as every other tool on the machine.
//! An address that needs no resolution is never asked for twice.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chassis::Drain;
use tokio::time::timeout;

use super::Upstream;
use super::config::UpstreamConfig;

/// How long one answer may take before the old addresses serve on until the next round.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Takes over literal addresses at once and resolves the others until the drain.
pub(super) fn start(upstream: &Arc<Upstream>, config: &UpstreamConfig, drain: &Drain) {
    let literal: HashSet<SocketAddr> =
        config.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    upstream.balance.resolved(&literal);
    let names: Vec<String> =
        config.addresses.iter().filter(|name| name.parse::<SocketAddr>().is_err()).cloned().collect();
    if names.is_empty() {
        return;
    }
    let (upstream, every, over) =
        (Arc::downgrade(upstream), Duration::from_millis(config.resolve_ms), upstream.over(drain));
    drain.spawn("upstream resolution", async move {
        tokio::select! {
            () = over => (),
            () = keep_resolving(upstream, literal, names, every) => (),
        }
    });
}

async fn keep_resolving(
    upstream: Weak<Upstream>,
    literal: HashSet<SocketAddr>,
    names: Vec<String>,
    every: Duration,
) {
    let mut names: Vec<Name> = names.into_iter().map(Name::new).collect();
    loop {
        let mut addresses = literal.clone();
        for name in &mut names {
            name.resolve().await;
            addresses.extend(&name.last);
        }
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.balance.resolved(&addresses);
        drop(upstream);
        tokio::time::sleep(every).await;
    }
}

/// A name and what it last stood for.
struct Name {
    name: String,
    last: HashSet<SocketAddr>,
    failing: bool,
}

impl Name {
    fn new(name: String) -> Self {
        Self { name, last: HashSet::new(), failing: false }
    }

    async fn resolve(&mut self) {
        let answer = match timeout(ANSWER_WITHIN, tokio::net::lookup_host(&self.name)).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("no answer in time".to_owned()),
        };
        self.answered(answer);
    }

    /// An empty or failed answer keeps the last one: DNS being away is no reason to lose a service that is there.
    fn answered(&mut self, answer: Result<HashSet<SocketAddr>, String>) {
        let problem = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                (self.last, self.failing) = (addresses, false);
                return;
            }
            Ok(_empty) => "the answer is empty".to_owned(),
            Err(error) => error,
        };
        // Once for each outage, not every few seconds.
        if !self.failing {
            tracing::warn!(
                name = self.name,
                problem,
                "upstream name not resolved, the last addresses serve on"
            );
        }
        self.failing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_failed_answer_keeps_the_last_one() {
        let set =
            |text: &str| -> HashSet<SocketAddr> { text.split(' ').map(|a| a.parse().unwrap()).collect() };
        let mut name = Name::new("svc:7001".into());
        for (answer, expect) in [
            (Ok(set("10.0.0.1:7001 10.0.0.2:7001")), "10.0.0.1:7001 10.0.0.2:7001"),
            (Err("SERVFAIL".to_owned()), "10.0.0.1:7001 10.0.0.2:7001"),
            (Ok(HashSet::new()), "10.0.0.1:7001 10.0.0.2:7001"),
            (Ok(set("10.0.0.3:7001")), "10.0.0.3:7001"),
        ] {
            name.answered(answer);
            assert_eq!(name.last, set(expect));
        }
    }
}
