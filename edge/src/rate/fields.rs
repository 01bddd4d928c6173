//! How a caller stands, in the fields of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "money";q=120;w=60` is the
//! quota of the window in seconds, `RateLimit: "money";r=12;t=30` what is left of it and for how many seconds to make it last:
//! then all of it is there again. Of a refusal, `t` is when the next request will be admitted.

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, HeaderValue};
use std::time::Duration;

use super::Standing;
use super::config::Quota;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The value of `RateLimit-Policy`; the name of a class needs no escape.
pub(super) fn policy(name: &str, quota: Quota) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{name}\";q={};w={}", quota.requests, quota.window_s)).ok()
}

/// Gives both fields to `put`, if clients are told.
///
/// # Errors
/// What `put` says.
pub fn put<E>(
    standing: Option<&Standing>,
    mut put: impl FnMut(HeaderName, HeaderValue) -> Result<(), E>,
) -> Result<(), E> {
    let Some(standing) = standing else { return Ok(()) };
    let Some(policy) = &standing.limit.policy else { return Ok(()) };
    put(RATELIMIT_POLICY, policy.clone())?;
    put(RATELIMIT, value(standing))
}

fn value(standing: &Standing) -> HeaderValue {
    // As long as two numbers of the largest size and the longest name need.
    let mut text = BytesMut::with_capacity(40);
    let mut number = itoa::Buffer::new();
    text.put_u8(b'"');
    text.put_slice(standing.limit.class.as_bytes());
    text.put_slice(b"\";r=");
    text.put_slice(number.format(standing.remaining).as_bytes());
    text.put_slice(b";t=");
    text.put_slice(number.format(seconds(standing.after)).as_bytes());
    HeaderValue::from_maybe_shared(text.freeze()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whole seconds, rounded up: nobody is told to come too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
