//! One JSON line for each request, written by a thread of its own so that a slow disk or pipe never holds up a request. It tells
//! which RPC ran, how it ended, who asked and how long it took; it never holds a path, a query, a header value or an id of a
//! customer. Lines that find the queue full are counted and lost.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

/// What may wait for the writer: tens of milliseconds at any load.
const QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long the writer gathers lines before it writes them. A busy edge then wakes it a hundred times a second instead of once
/// a request, and a line is seldom awaited.
const GATHER: Duration = Duration::from_millis(10);

/// What one line says.
#[derive(Debug, Default, Serialize)]
pub struct Entry<'a> {
    /// RFC 3339, UTC.
    pub time: String,
    /// Always "access", so that a collector can tell these lines from others.
    pub target: &'static str,
    pub listener: &'static str,
    /// "rest", "grpc" or "grpc-web".
    pub protocol: &'static str,
    /// "h1" or "h2".
    pub http_version: &'static str,
    /// The HTTP verb; "OTHER" for one that HTTP does not know.
    pub verb: &'static str,
    /// The path template of the route; none when no route matched or the call is gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// "ledger.v1.LedgerService/GetBalance".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<&'a str>,
    /// The name of the gRPC code.
    pub code: &'static str,
    /// The HTTP status written; 0 when none was.
    pub status: u16,
    /// Why the edge itself refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The kind of principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<&'static str>,
    /// The workload that called through the mesh listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// From the parsed header to the end of the answer.
    pub duration_ms: f64,
    /// From the call of the upstream to the end of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// Body bytes.
    pub bytes_in: u64,
    pub bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<&'a str>,
    /// What cut the answer short: "downstream", "upstream", "deadline", "idle", "drain".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_by: Option<&'static str>,
}

/// Handle to the log; clones share it.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<Arc<Handle>>,
    dropped: Counter,
}

/// What the handles share. The last one that goes closes the queue.
#[derive(Debug)]
struct Handle(Arc<Queue>);

/// Lines on their way to the writer, in one buffer: a line is copied into it and nothing changes threads but the whole.
#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<Lines>,
    some: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    closed: bool,
}

/// The writing side. It ends when every [`AccessLog`] is gone.
#[derive(Debug)]
pub struct Writer(Option<JoinHandle<()>>);

impl AccessLog {
    /// A log that keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { queue: None, dropped: Counter::default() }
    }

    /// Opens the log: a file to append to, or the standard output.
    ///
    /// # Errors
    /// When the file cannot be opened or no thread can be had.
    pub fn open(path: Option<&Path>, dropped: Counter) -> io::Result<(Self, Writer)> {
        let sink: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            None => Box::new(io::stdout()),
        };
        let queue = Arc::new(Queue::default());
        let handle = Arc::new(Handle(Arc::clone(&queue)));
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || write(&queue, sink))?;
        Ok((Self { queue: Some(handle), dropped }, Writer(Some(thread))))
    }

    /// Whether anybody reads.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a line to the writer.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(handle) = &self.queue else { return };
        let mut line = Vec::with_capacity(512);
        if serde_json::to_writer(&mut line, entry).is_err() {
            return;
        }
        line.push(b'\n');
        if !handle.0.push(&line) {
            self.dropped.inc();
        }
    }
}

impl Writer {
    /// Waits for the last line. Every [`AccessLog`] must be gone, or this never ends.
    pub fn finish(mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lines().closed = true;
        self.0.some.notify_one();
    }
}

impl Queue {
    /// Takes a line; `false` when there is no room.
    fn push(&self, line: &[u8]) -> bool {
        let mut lines = self.lines();
        if lines.bytes.len() + line.len() > QUEUE_BYTES_MAX {
            return false;
        }
        let first = lines.bytes.is_empty();
        lines.bytes.extend_from_slice(line);
        drop(lines);
        if first {
            self.some.notify_one();
        }
        true
    }

    /// Waits for a line and for those that come with it, and leaves `written` in their place. `false` after the last.
    fn take(&self, written: &mut Vec<u8>) -> bool {
        let nothing = |lines: &mut Lines| lines.bytes.is_empty() && !lines.closed;
        let lines = self.some.wait_while(self.lines(), nothing).unwrap_or_else(PoisonError::into_inner);
        if lines.bytes.is_empty() {
            return false;
        }
        let closed = lines.closed;
        drop(lines);
        if !closed {
            std::thread::sleep(GATHER);
        }
        written.clear();
        std::mem::swap(&mut self.lines().bytes, written);
        true
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what has gathered, until the last handle is gone.
fn write(queue: &Queue, mut sink: Box<dyn Write + Send>) {
    let mut lines = Vec::new();
    while queue.take(&mut lines) {
        if let Err(error) = sink.write_all(&lines).and_then(|()| sink.flush()) {
            tracing::error!(%error, "access log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_json_object_and_none_is_lost_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let (log, writer) = AccessLog::open(Some(&path), Counter::default()).unwrap();
        for status in [200, 404] {
            let entry = Entry { target: "access", status, rpc: Some("a.v1.B/C"), ..Entry::default() };
            log.write(&entry);
        }
        drop(log);
        writer.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["status"], 404);
        assert_eq!(lines[0]["rpc"], "a.v1.B/C");
        assert!(lines[0].get("reason").is_none());
    }
}
