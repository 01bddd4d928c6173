//! The search for a place: an endpoint, a connection, room for one more stream. Whatever refuses is passed over until nobody is
//! left or the time is up.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::Upstream;
use super::attempt::{Attempt, NotSent};
use super::endpoint::Visit;
use super::error::OpenError;
use super::group::NoSlot;
use super::limits::Limit;
use super::replay::Call;

/// How many connections may turn out closed when a call is about to be sent on them, before it is given up.
const CLOSED_MAX: u32 = 8;

/// A bound of the upstream is met.
pub(super) fn busy(upstream: &Upstream, limit: Limit) -> OpenError {
    upstream.metrics.limited(upstream.name(), limit.as_str());
    OpenError::Busy { upstream: upstream.name().to_owned(), limit }
}

/// Finds a place for a call and sends it there. `avoid` has just refused it and is asked again only if there is no other.
pub(super) async fn find(
    upstream: &Arc<Upstream>,
    call: &Call,
    avoid: Option<SocketAddr>,
) -> Result<Attempt, OpenError> {
    let name = || upstream.name().to_owned();
    let mut now = Instant::now();
    // The deadline is not looked at here: whoever waits for this ends with it, and knows to say so.
    let until = now + upstream.ready;
    let mut tried = Vec::new();
    let mut failure = None;
    let mut closed = 0;
    while let Some(endpoint) = upstream.balance.pick(call.terms.class, now, &tried, avoid) {
        let address = endpoint.address();
        let visit = Visit::new(endpoint, call.terms.class, now);
        let endpoint = visit.endpoint();
        match endpoint.group(call.terms.class).slot(until).await {
            Ok(slot) => match Attempt::begin(upstream, visit, slot, call) {
                Ok(attempt) => return Ok(attempt),
                Err(NotSent::ConnectionGone) if closed < CLOSED_MAX => closed += 1,
                Err(NotSent::ConnectionGone) => tried.push(address),
                Err(NotSent::Malformed(source)) => {
                    return Err(OpenError::Malformed { upstream: name(), source: Arc::new(source) });
                }
            },
            Err(NoSlot::Dial(source)) => {
                upstream.not_dialled(endpoint, &source);
                failure = Some(OpenError::Dial { upstream: name(), source });
                tried.push(address);
            }
            Err(NoSlot::Full(limit)) => {
                failure = Some(busy(upstream, limit));
                break;
            }
        }
        now = Instant::now();
    }
    upstream.metrics.refused(upstream.name());
    Err(failure.unwrap_or_else(|| OpenError::NoEndpoint { upstream: name() }))
}
