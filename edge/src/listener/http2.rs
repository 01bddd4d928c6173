//! The bounds of HTTP/2, in one place: all that `h2` and Pingora would otherwise choose by themselves.
//!
//! What needs no number of ours, because `h2` answers it within its own memory: a header block may have no more CONTINUATION frames
//! than its size allows (CVE-2024-27316); one PING and one SETTINGS wait for their answer at a time, and while they do nothing more is
//! read; a window that overflows, a stream number that was used, and a frame out of order end the stream or the connection; beyond
//! `streams_max` a stream is refused unprocessed. What costs no memory but time is counted by [`super::frames`].

use pingora::protocols::http::v2::server::{H2Options, default_h2_options};

use crate::config::Limits;
use crate::policy::Listener;

/// The options of the next connection. `default_h2_options` and not `H2Options::default`, which has neither a bound of streams nor
/// one of headers.
pub(super) fn options(listener: Listener, streams_max: u32, limits: &Limits) -> H2Options {
    let http2 = &limits.http2;
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(streams_max)
        .max_header_list_size(u32::try_from(flood_bytes(limits)).unwrap_or(u32::MAX))
        .initial_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .max_pending_accept_reset_streams(http2.pending_resets_max)
        .max_concurrent_reset_streams(http2.remembered_resets_max)
        .max_local_error_reset_streams(Some(http2.provoked_resets_max));
    if listener == Listener::Mesh {
        let window = mesh_window_bytes(http2.stream_window_bytes, streams_max);
        // h2 counts up to 256 bytes of overhead for every small frame it buffers and closes the connection above a budget.
        // Its own choice, half a window of strangers, is spent by one client stream of tiny messages that nobody reads, and
        // every other call of that service would go down with it.
        options
            .initial_connection_window_size(window)
            .data_frame_budget(usize::try_from(window).unwrap_or(usize::MAX));
    }
    options
}

/// What of a header may arrive before anybody looks at it. The exact bound is the gateway's, which can say what is wrong; this one
/// only ends a flood.
pub(super) const fn flood_bytes(limits: &Limits) -> usize {
    limits.header_bytes_max * 2
}

/// A service sends everything it has to say over a few connections: a window for all streams at once, so that however many of them
/// stall, the others find theirs open. 2^31-1 is HTTP/2's end.
const fn mesh_window_bytes(stream_window_bytes: u32, streams_max: u32) -> u32 {
    let bytes = stream_window_bytes.saturating_mul(streams_max);
    if bytes > i32::MAX.unsigned_abs() { i32::MAX.unsigned_abs() } else { bytes }
}
