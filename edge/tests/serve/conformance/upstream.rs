//! The service of a conformance case: it keeps what it is sent and plays the case's script, frame by frame, the broken ones too.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a script says.
#[derive(Clone, Debug)]
pub enum Script {
    /// Messages, then trailers. `at_once`: all of them in one DATA frame. `coding`: that of each message.
    Grpc { messages: Vec<Vec<u8>>, at_once: bool, coding: Option<String>, trailers: HeaderMap },
    /// Nothing but a header.
    TrailersOnly(HeaderMap),
    /// Bytes behind a gRPC header, and no trailers.
    Raw(Vec<u8>),
    /// No gRPC at all.
    Plain(u16),
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    pub headers: HeaderMap,
    pub messages: Vec<Bytes>,
}

/// See the module.
pub struct Upstream {
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: JoinSet<()>,
}

impl Upstream {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, script, Arc::clone(&calls)));
        Self { address, calls, _serving: serving }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, script: Script, calls: Arc<Mutex<Vec<Call>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, script.clone(), Arc::clone(&calls)));
    }
}

async fn connection(stream: TcpStream, script: Script, calls: Arc<Mutex<Vec<Call>>>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    let mut serving = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        serving.spawn(answer(request, respond, script.clone(), Arc::clone(&calls)));
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    script: Script,
    calls: Arc<Mutex<Vec<Call>>>,
) {
    let (head, mut body) = request.into_parts();
    let mut received = BytesMut::new();
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        body.flow_control().release_capacity(piece.len()).unwrap();
        received.extend_from_slice(&piece);
    }
    let call = Call { headers: head.headers, messages: unframed(received.freeze()) };
    calls.lock().unwrap().push(call);
    let _ = play(&mut respond, script);
}

/// Plays the script, as far as the edge listens: it may have heard enough, or have run out of time.
fn play(respond: &mut SendResponse<Bytes>, script: Script) -> Result<(), h2::Error> {
    let grpc = || Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    match script {
        Script::Grpc { messages, at_once, coding, trailers } => {
            let mut head = grpc();
            if let Some(coding) = &coding {
                head.headers_mut().insert("grpc-encoding", coding.parse().unwrap());
            }
            let mut stream = respond.send_response(head, false)?;
            let frames = messages.iter().map(|message| match &coding {
                Some(coding) => framed(1, &encode(coding, message)),
                None => framed(0, message),
            });
            if at_once {
                stream.send_data(frames.collect::<Vec<_>>().concat().into(), false)?;
            } else {
                for frame in frames {
                    stream.send_data(frame.into(), false)?;
                }
            }
            stream.send_trailers(trailers)
        }
        Script::TrailersOnly(headers) => {
            let mut head = grpc();
            head.headers_mut().extend(headers);
            respond.send_response(head, true).map(drop)
        }
        Script::Raw(bytes) => respond.send_response(grpc(), false)?.send_data(bytes.into(), true),
        Script::Plain(status) => {
            let head = Response::builder().status(status).header("content-type", "text/plain").body(());
            let mut stream = respond.send_response(head.unwrap(), false)?;
            stream.send_data(Bytes::from_static(b"not gRPC"), true)
        }
    }
}

fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], message].concat()
}

fn encode(coding: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => GzEncoder::new(&mut out, Compression::default()).write_all(message).unwrap(),
        "deflate" => ZlibEncoder::new(&mut out, Compression::default()).write_all(message).unwrap(),
        "zstd" => return zstd::bulk::compress(message, 1).unwrap(),
        other => panic!("unknown coding {other}"),
    }
    out
}

fn unframed(mut bytes: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes.get_u8(), 0, "nothing compresses here");
        let length = bytes.get_u32() as usize;
        messages.push(bytes.split_to(length));
    }
    messages
}
