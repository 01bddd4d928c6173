//! Servers for the tests of this module and of `relay`: a tonic one with a method of every kind, in clear text or under a
//! workload identity, and a bare h2 one for what tonic never does.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use chassis::{Drain, Metrics};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use super::{Tls, Upstream, UpstreamConfig, Upstreams};

/// Messages as bytes, so that no test needs a contract.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A service with a method of every kind, and what it saw.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    /// Connections it was reached by.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Calls that hang and have not been cancelled.
    pub(crate) hanging: Arc<AtomicUsize>,
    pub(crate) calls: Arc<AtomicUsize>,
    /// Uploads that were read to their end.
    pub(crate) uploads: Arc<AtomicUsize>,
}

struct Hanging(Arc<AtomicUsize>);

impl Hanging {
    fn of(echo: &Echo) -> Self {
        echo.hanging.fetch_add(1, Ordering::SeqCst);
        Self(echo.hanging.clone())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

type Answers = Pin<Box<dyn futures::Stream<Item = Result<Bytes, Status>> + Send>>;

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let echo = self.clone();
        Box::pin(async move { Ok(echo.answer(request).await) })
    }
}

impl Echo {
    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let mut grpc = Grpc::new(Raw);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        match method.as_str() {
            "Unary" => {
                grpc.unary(
                    service_fn(|call: Request<Bytes>| ready(Ok(Response::new(call.into_inner())))),
                    request,
                )
                .await
            }
            "Bidi" => {
                let echo = |call: Request<Streaming<Bytes>>| ready(Ok(Response::new(call.into_inner())));
                grpc.streaming(service_fn(echo), request).await
            }
            "Upload" => {
                let count = |call: Request<Streaming<Bytes>>| {
                    let (hanging, uploads) = (Hanging::of(&self), self.uploads.clone());
                    async move {
                        let _hanging = hanging;
                        let mut bytes = 0;
                        let mut parts = call.into_inner();
                        while let Some(part) = parts.message().await? {
                            bytes += part.len();
                        }
                        uploads.fetch_add(1, Ordering::SeqCst);
                        Ok(Response::new(Bytes::from(bytes.to_string())))
                    }
                };
                grpc.client_streaming(service_fn(count), request).await
            }
            "Fail" => {
                let fail = |_: Request<Bytes>| {
                    let details = Bytes::from_static(b"\x08\x09");
                    ready(Err::<Response<Bytes>, _>(Status::with_details(
                        tonic::Code::FailedPrecondition,
                        "no way",
                        details,
                    )))
                };
                grpc.unary(service_fn(fail), request).await
            }
            method => {
                let method = method.to_owned();
                let answers = move |_: Request<Bytes>| ready(Ok(Response::new(self.stream(&method))));
                grpc.server_streaming(service_fn(answers), request).await
            }
        }
    }

    fn stream(&self, method: &str) -> Answers {
        let first = stream::iter([Ok(Bytes::from_static(b"first"))]);
        match method {
            "Endless" => stream::repeat(Bytes::from(vec![7; 64 * 1024])).map(Ok).boxed(),
            "FailLate" => first.chain(stream::iter([Err(Status::aborted("lost the race"))])).boxed(),
            "HangLate" => first.chain(self.hang()).boxed(),
            _ => self.hang().boxed(),
        }
    }

    fn hang(&self) -> impl futures::Stream<Item = Result<Bytes, Status>> + Send + use<> {
        let hanging = Hanging::of(self);
        async move {
            let _hanging = hanging;
            pending().await
        }
        .into_stream()
    }
}

/// A tonic server, and how to stop it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) echo: Echo,
    pub(crate) drain: Drain,
}

/// Serves [`Echo`] in clear text on `address`, with a health service that calls itself serving.
pub(crate) async fn serve_at(address: &str) -> Server {
    let (listener, echo, drain) =
        (TcpListener::bind(address).await.unwrap(), Echo::default(), Drain::default());
    let address = listener.local_addr().unwrap();
    let connections = echo.connections.clone();
    let incoming = TcpListenerStream::new(listener).inspect(move |_| {
        connections.fetch_add(1, Ordering::SeqCst);
    });
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health).add_service(echo.clone());
    let serving = server.serve_with_incoming_shutdown(incoming, drain.stopping());
    drain.spawn("server", async move { serving.await.unwrap() });
    Server { address, echo, drain }
}

/// [`serve_at`] a free port.
pub(crate) async fn serve() -> Server {
    serve_at("127.0.0.1:0").await
}

/// A bare h2 server: `answer` gets every request with the number of its connection and its own, from zero.
pub(crate) async fn serve_h2<F, Fut>(drain: &Drain, answer: F) -> SocketAddr
where
    F: Fn(usize, usize, http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> Fut
        + Clone
        + Send
        + 'static,
    Fut: Future<Output = After> + Send + 'static,
{
    serve_h2_over(drain, |tcp| ready(Some(tcp)), answer).await
}

/// [`serve_h2`] over what `accept` makes of a connection.
pub(crate) async fn serve_h2_over<T, A, Accepted, F, Fut>(drain: &Drain, accept: A, answer: F) -> SocketAddr
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(TcpStream) -> Accepted + Clone + Send + 'static,
    Accepted: Future<Output = Option<T>> + Send + 'static,
    F: Fn(usize, usize, http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> Fut
        + Clone
        + Send
        + 'static,
    Fut: Future<Output = After> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = drain.clone();
    drain.spawn("h2 server", async move {
        let requests = Arc::new(AtomicUsize::new(0));
        for connection in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            let (requests, answer, drain) = (requests.clone(), answer.clone(), own.clone());
            let accepting = accept(tcp);
            own.spawn("h2 connection", async move {
                let Some(io) = accepting.await else { return };
                let Ok(mut http) = h2::server::handshake(io).await else { return };
                let (end, mut ended) = tokio::sync::mpsc::unbounded_channel();
                loop {
                    tokio::select! {
                        request = http.accept() => {
                            let Some(Ok((request, respond))) = request else { return };
                            let answering = answer(connection, requests.fetch_add(1, Ordering::SeqCst), request, respond);
                            let end = end.clone();
                            drain.spawn("h2 answer", async move { let _ = end.send(answering.await); });
                        }
                        after = ended.recv() => match after.unwrap() {
                            After::Nothing => (),
                            After::GoAway => http.graceful_shutdown(),
                            After::Cut => return,
                        }
                    }
                }
            });
        }
    });
    address
}

/// A server that reads the header of one request on its first connection and says that it goes away without having processed
/// any. It has no second connection.
pub(crate) async fn serve_goaway(drain: &Drain) -> SocketAddr {
    const PREFACE_BYTES: usize = 24;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // Last stream 0, NO_ERROR.
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drain.spawn("goaway server", async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        drop(listener);
        tcp.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        tcp.write_all(&SETTINGS).await.unwrap();
        loop {
            let mut frame = [0; 9];
            tcp.read_exact(&mut frame).await.unwrap();
            let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
            tcp.read_exact(&mut vec![0; length]).await.unwrap();
            if frame[3] == 1 {
                break;
            }
        }
        tcp.write_all(&GOAWAY).await.unwrap();
        // Until the client has closed.
        let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
    });
    address
}

/// What becomes of the connection once a request is answered.
pub(crate) enum After {
    Nothing,
    /// It takes leave in good order: GOAWAY, and what is open is still answered.
    GoAway,
    /// The socket is closed without a word.
    Cut,
}

/// A whole unary answer.
pub(crate) fn respond_ok(mut respond: h2::server::SendResponse<Bytes>, message: &[u8]) {
    let header = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut send = respond.send_response(header, false).unwrap();
    send.send_data(framed(message), false).unwrap();
    send.send_trailers(http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))
        .unwrap();
}

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(message);
    frame.into()
}

/// An upstream in clear text at `addresses`, changed by `edit`.
pub(crate) fn upstream(
    addresses: &[SocketAddr],
    drain: &Drain,
    edit: impl FnOnce(&mut UpstreamConfig),
) -> Arc<Upstream> {
    let mut config: UpstreamConfig =
        toml::from_str("name = \"echo\"\naddresses = [\"127.0.0.1:1\"]").unwrap();
    config.addresses = addresses.iter().map(SocketAddr::to_string).collect();
    (config.tls, config.health) = (Tls::Off, false);
    edit(&mut config);
    let upstreams = Upstreams::start(&[config], None, drain, &Metrics::default()).unwrap();
    upstreams.get("echo").unwrap().clone()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}
