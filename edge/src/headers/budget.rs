//! How long a call may take: what its caller asked for, cut to what its policy allows. Own time spent in the edge is taken off
//! by whoever holds the clock; this file only decides the length.

use std::time::Duration;

use crate::policy::Bounds;

/// The bounds of one call in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the first byte of the request to the last of the answer. Zero means that it is spent already.
    pub total: Duration,
    /// Streams only: how long nothing may move in either direction.
    pub idle: Option<Duration>,
}

/// `min(asked, max)`, or the policy's default when nothing was asked for. A caller can only shorten.
#[must_use]
pub fn budget(bounds: &Bounds, asked: Option<Duration>) -> Budget {
    match *bounds {
        Bounds::Unary { default, max } => Budget { total: asked.unwrap_or(default).min(max), idle: None },
        Bounds::Stream { idle, max_age } => {
            Budget { total: asked.unwrap_or(max_age).min(max_age), idle: Some(idle) }
        }
    }
}

impl Budget {
    /// A stream ends when the credential that opened it expires; a unary call that began in time is let finish.
    #[must_use]
    pub fn ending_with(self, credential_left: Duration) -> Self {
        match self.idle {
            Some(_) => Self { total: self.total.min(credential_left), ..self },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_caller_can_only_shorten() {
        let unary = Bounds::Unary { default: S(5), max: S(30) };
        let stream = Bounds::Stream { idle: S(60), max_age: S(3600) };
        let check = |bounds: &Bounds, asked: Option<Duration>, total: Duration| {
            assert_eq!(budget(bounds, asked).total, total, "{bounds:?} {asked:?}");
        };
        check(&unary, None, S(5));
        check(&unary, Some(S(10)), S(10));
        check(&unary, Some(S(31)), S(30));
        check(&unary, Some(S(0)), S(0));
        check(&stream, None, S(3600));
        check(&stream, Some(S(10)), S(10));
        check(&stream, Some(Duration::MAX), S(3600));
        assert_eq!(budget(&unary, None).idle, None);
        assert_eq!(budget(&stream, None).idle, Some(S(60)));
    }

    #[test]
    fn only_a_stream_ends_with_its_credential() {
        assert_eq!(Budget { total: S(30), idle: None }.ending_with(S(1)).total, S(30));
        assert_eq!(Budget { total: S(30), idle: Some(S(9)) }.ending_with(S(1)).total, S(1));
        assert_eq!(Budget { total: S(30), idle: Some(S(9)) }.ending_with(S(60)).total, S(30));
    }
}
