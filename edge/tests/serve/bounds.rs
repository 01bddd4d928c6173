//! The bounds of a connection, by hand: what a client does that wants to cost more than it may, and what of that others notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Grpc, Http, Rest, never_sent};
use crate::messages::{GetNoteRequest, Note};
use crate::world::{World, uncounted};

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The only highest number a first GOAWAY may name.
const HIGHEST: u32 = 0x7fff_ffff;
/// The error code of "you are too much" (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A frame as it came.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The last stream and the code of a GOAWAY.
    fn goaway(&self) -> Option<(u32, u32)> {
        let word = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap());
        (self.kind == GOAWAY).then(|| (word(0), word(4)))
    }
}

/// A client of HTTP/2 that says what it is told to.
struct Raw(TlsStream<TcpStream>);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header field without indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A header block that asks for a page without credentials.
fn get(path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

impl Raw {
    async fn open(world: &World) -> Self {
        let mut tls = world.client_tls();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(world.public).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut raw = Self(TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap());
        raw.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.say(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// Says something, if anybody still listens.
    async fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// The next frame; none once the connection has ended.
    async fn next(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        let read = timeout(Duration::from_secs(10), self.0.read_exact(&mut header)).await;
        read.unwrap().ok()?;
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Waits for a GOAWAY and no longer than that.
    async fn goaway(&mut self) -> Option<(u32, u32)> {
        loop {
            if let Some(goaway) = self.next().await?.goaway() {
                return Some(goaway);
            }
        }
    }
}

fn cut(world: &World, bound: &str) -> i64 {
    world.number(&format!("edge_connections_cut_total{{listener=\"public\",bound=\"{bound}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_header_block_that_does_not_end_in_time_ends_its_connection() {
    let world = World::with(|text| text.replace("[limits]", "[limits]\nheader_ms = 400")).await;
    let whole = get("/v1/hello/you");
    // One byte at a time and never all; a block left open; half a frame.
    for (n, begun) in [
        frame(HEADERS, 0, 1, &whole),
        [frame(HEADERS, 0, 1, &whole), frame(CONTINUATION, 0, 1, &[])].concat(),
        frame(HEADERS, END_HEADERS, 1, &whole)[..20].to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut raw = Raw::open(&world).await;
        let begins = Instant::now();
        raw.say(&begun).await;
        while raw.next().await.is_some() {}
        assert!(begins.elapsed() >= Duration::from_millis(350), "{n}: its time is not over");
        world.until("it is counted", || cut(&world, "slow_header") == i64::try_from(n).unwrap() + 1).await;
    }
    let mut raw = Raw::open(&world).await;
    let dribbles = async {
        for byte in frame(CONTINUATION, 0, 1, &[b'a'; 200]) {
            if !raw.say(&[byte]).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(8), dribbles).await.expect("who dribbles is let go");
    // Who has said what it wants may be silent for as long as it likes.
    let mut raw = Raw::open(&world).await;
    assert!(timeout(Duration::from_secs(1), async { while raw.next().await.is_some() {} }).await.is_err());
    raw.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &whole)).await;
    while raw.next().await.unwrap().kind != HEADERS {}
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_c6_a_flood_of_frames_that_carry_nothing_ends_its_connection_and_no_other() {
    let world = World::with(|text| {
        let text = text.replacen("[listener.partner]", "streams_max = 10\n[listener.partner]", 1);
        // Ten a second and one for each stream, over ten seconds: 200.
        text.replace("[access_log]", "[limits.http2]\ncontrol_frames_per_s_max = 10\n[access_log]")
    })
    .await;
    let rest = Rest::new(&world, Http::Two, None);
    let open = frame(HEADERS, END_HEADERS, 1, &get("/v1/hello/you"));
    for (n, (before, nothing)) in (1..).zip([
        (vec![], frame(PING, 0, 0, &[7; 8])),
        (vec![], frame(SETTINGS, 0, 0, &[])),
        (vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        (vec![], frame(0x77, 0, 0, b"what")),
        (open.clone(), frame(DATA, 0, 1, &[])),
    ]) {
        let (mut raw, mut said) = (Raw::open(&world).await, 0);
        raw.say(&before).await;
        while said < 20_000 && raw.say(&nothing.repeat(10)).await {
            said += 10;
            if said % 100 == 0 {
                assert_eq!(rest.get("/v1/hello/you").await.status, StatusCode::OK);
            }
        }
        assert!(said < 20_000, "{nothing:?}");
        // Empty DATA is h2's to end, if it is the first to see too many.
        let ended = || cut(&world, "frame_flood") == n || nothing[3] == DATA;
        world.until("it is counted", ended).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_streams_reset_before_they_are_served_end_their_connection() {
    let world = World::new().await;
    let mut raw = Raw::open(&world).await;
    let mut burst = Vec::new();
    for stream in 0..1_000 {
        let stream = 2 * stream + 1;
        burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/v1/hello/you")));
        burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    raw.say(&burst).await;
    let (_, code) = raw.goaway().await.expect("a GOAWAY says why");
    assert_eq!(code, ENHANCE_YOUR_CALM);
    assert_eq!(Rest::new(&world, Http::Two, None).get("/v1/hello/you").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_client_that_makes_the_edge_reset_streams_is_told_to_go() {
    let world = World::with(|text| {
        text.replace("[access_log]", "[limits.http2]\nprovoked_resets_max = 5\n[access_log]")
    })
    .await;
    let mut raw = Raw::open(&world).await;
    let mut goaway = None;
    for stream in 0..50 {
        let stream = 2 * stream + 1;
        // More than was announced is an error of the stream, and it is the edge that resets it.
        let block = [get("/v1/hello/you"), field("content-length", "1")].concat();
        raw.say(&[frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, 0, stream, b"two")].concat())
            .await;
    }
    while let Some(next) = raw.next().await {
        goaway = next.goaway().or(goaway);
    }
    assert_eq!(goaway.expect("a GOAWAY says why").1, ENHANCE_YOUR_CALM);
    assert_eq!(Rest::new(&world, Http::Two, None).get("/v1/hello/you").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_told_to_go_twice_and_what_is_on_its_way_is_served() {
    let world = World::with(|text| text.replace("[limits]", "[limits]\nage_ms_max = 500")).await;
    let mut raw = Raw::open(&world).await;
    let request = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/v1/hello/you"));
    raw.say(&request(1)).await;
    assert_eq!(raw.goaway().await, Some((HIGHEST, 0)), "nothing that is on its way is lost");
    // The client has not heard it yet, and asks for more; the edge waits for a sign that it has.
    raw.say(&request(3)).await;
    let mut answered = false;
    let last = loop {
        let next = raw.next().await.expect("it says which was the last");
        if let Some(last) = next.goaway() {
            break last;
        }
        answered |= next.kind == HEADERS && next.stream == 3;
        if next.kind == PING && next.flags & ACK == 0 {
            raw.say(&frame(PING, ACK, 0, &next.payload)).await;
        }
    };
    assert_eq!(last, (3, 0));
    while let Some(next) = raw.next().await {
        answered |= next.kind == HEADERS && next.stream == 3;
    }
    assert!(answered, "and then the connection ends");
    // One that answers no PING is cut when nothing is left of it.
    let mut deaf = Raw::open(&world).await;
    assert_eq!(deaf.goaway().await, Some((HIGHEST, 0)));
    while deaf.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_grow_old_under_load_and_no_request_fails() {
    let world =
        Arc::new(World::with(|text| uncounted(text.replace("[limits]", "[limits]\nage_ms_max = 100"))).await);
    let served = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (world, served) = (Arc::clone(&world), Arc::clone(&served));
        clients.spawn(async move {
            let token = Some(world.token());
            let grpc = Grpc::new(&world, token.clone());
            let rest = Rest::new(&world, if client % 2 == 0 { Http::One } else { Http::Two }, token);
            let mut told = 0;
            let begins = Instant::now();
            // For some twenty lives of a connection, and until it is certain that it happened under load.
            while begins.elapsed() < Duration::from_secs(2) || served.load(Ordering::Relaxed) < 300 {
                assert!(begins.elapsed() < Duration::from_secs(30), "too slow");
                if client % 2 == 0 && client < 4 {
                    let reply = rest.get("/v1/notes/n-1").await;
                    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
                    told += usize::from(reply.header("connection") == "close");
                } else if client < 4 {
                    assert_eq!(rest.get_surely("/v1/notes/n-1").await, Some(StatusCode::OK));
                } else {
                    let note = GetNoteRequest { note_id: "n-2".into() };
                    get_note(&grpc, note).await;
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
            assert!(client % 2 == 1 || client >= 4 || told > 3, "HTTP/1 was told {told} times");
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    // What a client was not answered never came here: all that did was served.
    let served = served.load(Ordering::Relaxed);
    world.until("all is logged", || world.access_log().len() >= served).await;
    let log = world.access_log();
    assert!(log.len() == served && log.iter().all(|line| line["code"] == "OK"), "{} of {served}", log.len());
}

/// Asks again what was never sent, as other clients of gRPC do by themselves.
async fn get_note(grpc: &Grpc, note: GetNoteRequest) {
    while let Err(status) = grpc.unary::<_, Note>("/echo.v1.EchoService/GetNote", note.clone()).await {
        assert!(never_sent(&status), "{status:?}");
    }
}
