//! Sizes and times of `edge.toml` that hold for every listener. The defaults are for a bank's API: small JSON bodies, documents
//! by stream, headers that carry one token.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A request header: names, values and path together. A token of 4 KiB with room for the rest.
    pub header_bytes_max: usize,
    /// How many header fields.
    pub header_fields_max: usize,
    /// The JSON body of a REST call, and one message of any call. What tonic takes unless told otherwise.
    pub message_bytes_max: usize,
    /// The body of an upload over REST.
    pub upload_bytes_max: u64,
    /// From the first byte of a request header to its last.
    pub header_ms: u64,
    /// From accept to the end of the TLS handshake.
    pub handshake_ms: u64,
    /// How long an HTTP/2 connection may have no stream before it is closed.
    pub idle_ms: u64,
    /// How long a client may take to read or write the next piece of a body.
    pub body_idle_ms: u64,
    /// How long a client may take before the body of a REST call must come at a rate, and that rate; a stream of JSON values, which
    /// may be a dialogue, is bounded by its idle time instead. A rate of zero: none.
    pub body_grace_ms: u64,
    /// See `body_grace_ms`. A modem of the last century is ten times as fast.
    pub body_bytes_per_s_min: u64,
    /// Bodies and answers that the edge holds whole at once, all requests together. From 70, 85 and 100 hundredths on, requests
    /// of the public, the partner and the mesh listener that need more than 16 KiB are refused.
    pub buffered_bytes_max: usize,
    /// How old a connection grows. Then HTTP/2 is asked to open another (GOAWAY) and HTTP/1 told so with its next answer; what is
    /// in flight ends as it would. So replicas share their load again after a rollout. Up to a tenth earlier, at random, or all
    /// would come back together. Zero: never. Not for the mesh listener, whose clients renew their connections themselves.
    pub age_ms_max: u64,
    /// What only HTTP/2 has.
    pub http2: Http2,
}

/// `[limits.http2]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// What a client may have in flight towards one stream before the edge has read it: 256 KiB are a stream's throughput a
    /// round trip, and what it can make the edge hold.
    pub stream_window_bytes: u32,
    /// The same for all streams of a connection together. On the mesh listener it is a window for each of its streams.
    pub connection_window_bytes: u32,
    /// Streams that the client may reset before they were accepted (CVE-2023-44487, rapid reset); one more ends the connection.
    pub pending_resets_max: usize,
    /// Streams remembered after the edge has reset them, to tell late frames from wrong ones; the oldest are forgotten.
    pub remembered_resets_max: usize,
    /// Streams that the client may make the edge reset by frames it must not send (CVE-2025-8671, MadeYouReset), in the life of
    /// a connection; one more ends it.
    pub provoked_resets_max: usize,
    /// Frames that carry nothing (PING, SETTINGS, PRIORITY, RST_STREAM, empty DATA, unknown ones) a second, over ten seconds.
    /// More and the connection ends: each costs the edge work, and some an answer (CVE-2019-9511 to 9518).
    pub control_frames_per_s_max: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 4 * 1024 * 1024,
            pending_resets_max: 20,
            remembered_resets_max: 50,
            // A correct client causes none; one that meets a bug of its own in every call should be told before long.
            provoked_resets_max: 100,
            // A channel of gRPC sends a few PINGs a second at most, a browser that leaves a page resets a few dozen streams.
            control_frames_per_s_max: 500,
        }
    }
}

impl Http2 {
    /// What HTTP/2 itself does not allow.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let windows = 65_535..=i32::MAX.unsigned_abs();
        for (key, bytes) in [
            ("stream_window_bytes", self.stream_window_bytes),
            ("connection_window_bytes", self.connection_window_bytes),
        ] {
            anyhow::ensure!(windows.contains(&bytes), "limits.http2.{key} must be 65535 to 2147483647");
        }
        anyhow::ensure!(
            self.control_frames_per_s_max > 0,
            "limits.http2.control_frames_per_s_max must be above zero"
        );
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 16 * 1024,
            header_fields_max: 100,
            message_bytes_max: 4 * 1024 * 1024,
            upload_bytes_max: 25 * 1024 * 1024,
            header_ms: 10_000,
            handshake_ms: 5_000,
            idle_ms: 300_000,
            body_idle_ms: 30_000,
            body_grace_ms: 10_000,
            body_bytes_per_s_min: 500,
            buffered_bytes_max: 512 * 1024 * 1024,
            age_ms_max: 1_800_000,
            http2: Http2::default(),
        }
    }
}

/// `[drain]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long after SIGTERM connections are still accepted: until load balancers have seen that the edge is not ready.
    pub lame_duck_ms: u64,
    /// How long requests in flight may take to end after that.
    pub grace_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { lame_duck_ms: 1_000, grace_ms: 25_000 }
    }
}

impl Drain {
    /// `lame_duck_ms`.
    #[must_use]
    pub const fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.lame_duck_ms)
    }

    /// `grace_ms`.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// `[access_log]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// Whether requests are logged.
    pub enabled: bool,
    /// A file to append to; absent, the standard output.
    pub path: Option<PathBuf>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true, path: None }
    }
}

impl Limits {
    /// `header_ms`.
    #[must_use]
    pub const fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms)
    }

    /// `handshake_ms`.
    #[must_use]
    pub const fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms)
    }

    /// `idle_ms`.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    /// `age_ms_max`, unless connections have no age.
    #[must_use]
    pub const fn age(&self) -> Option<Duration> {
        if self.age_ms_max == 0 { None } else { Some(Duration::from_millis(self.age_ms_max)) }
    }

    /// `body_grace_ms`.
    #[must_use]
    pub const fn body_grace(&self) -> Duration {
        Duration::from_millis(self.body_grace_ms)
    }

    /// `body_idle_ms`.
    #[must_use]
    pub const fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }
}
