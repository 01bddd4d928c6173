//! What Pingora's HTTP server calls for each request of a connection: reads its header and hands it to the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession as Session;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{LINGER, http2};
use crate::gateway::Gateway;
use crate::policy::Listener;

/// The application of one listener.
pub(super) struct App {
    pub(super) gateway: Gateway,
    pub(super) listener: Listener,
    /// Streams at once on one connection of HTTP/2.
    pub(super) streams_max: u32,
    pub(super) options: HttpServerOptions,
    /// Ends connections of HTTP/1 that wait for another request.
    pub(super) over: CancellationToken,
}

impl App {
    /// Reads the header of the next request. Returns whether there is one.
    async fn read_header(&self, session: &mut Session) -> bool {
        if session.is_http2() {
            return true;
        }
        let read = tokio::select! {
            // First what has arrived: a request that is there is served.
            biased;
            read = session.read_request() => read,
            () = self.over.cancelled() => return false,
        };
        match read {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(kind = error.etype().as_str(), "no request was read");
                let _ = timeout(LINGER, async {
                    if *error.etype() == pingora::ErrorType::InvalidHTTPHeader {
                        self.gateway.refuse_unreadable(session).await;
                    }
                    session.shutdown().await;
                })
                .await;
                false
            }
        }
    }
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: Session,
        stop: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !self.read_header(&mut session).await {
            return None;
        }
        if *stop.borrow() {
            session.set_keepalive(None);
        }
        if !self.gateway.handle(&mut session).await {
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok().flatten()?;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    fn h2_options(&self) -> Option<H2Options> {
        let snapshot = self.gateway.snapshot();
        Some(http2::options(self.listener, self.streams_max, &snapshot.limits))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.over.cancel();
    }
}
