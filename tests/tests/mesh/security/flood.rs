//! C1 to C6: floods of HTTP/2 that cost the attacker little and were to cost the edge much. The connection they come by is ended
//! or held back; the edge's memory stays what it was and everybody else is served. What they cost in time is measured by
//! `make security`.

use std::sync::Arc;
use std::time::Duration;

use e2e::World;
use e2e::wire::h2::{
    ACK, CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Ending, Frame, HEADERS,
    PING, SETTINGS, get, literal,
};

use super::withstands;

crate::tests![
    c1_a_rapid_reset_ends_its_connection,
    c2_a_client_that_makes_the_edge_reset_ends_its_connection,
    c3_a_header_that_never_ends_ends_its_connection,
    c4_empty_data_without_end_ends_its_connection,
    c5_a_header_list_that_unpacks_to_gigabytes_is_refused,
    c6_control_frames_without_end_cost_no_memory,
    c6_data_in_crumbs_ends_its_connection,
    c6_answers_nobody_reads_are_not_kept,
];

/// Longer than what the edge takes to say its last word.
const SOON: Duration = Duration::from_secs(5);

const POST: [(&str, &str); 5] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/v1/echo"),
    ("content-type", "application/json"),
];

/// The number of the `number`th stream.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

async fn flood(world: &World, count: u32, frames: impl Fn(u32) -> Vec<Frame>) -> Ending {
    let connection = Connection::open(world).await;
    withstands(world, connection.flood(count, SOON, frames)).await
}

async fn c1_a_rapid_reset_ends_its_connection(world: Arc<World>) {
    let reset = |number| vec![Frame::get(stream(number), "/v1/echo/reset"), Frame::reset(stream(number), 8)];
    let ending = flood(&world, 100_000, reset).await;
    assert_eq!(ending.goaway, Some(ENHANCE_YOUR_CALM), "after {} frames", ending.sent);
}

async fn c2_a_client_that_makes_the_edge_reset_ends_its_connection(world: Arc<World>) {
    type Variant = fn(u32) -> Vec<Frame>;
    let long = [POST.as_slice(), &[("content-length", "1")]].concat();
    // Each opens a stream well and then breaks a rule on it, so that the edge, not the client, ends it.
    let variants: [(&str, Variant); 5] = [
        ("a window of nothing", |stream| vec![Frame::headers(stream, 0, &POST), Frame::window(stream, 0)]),
        ("too large a window", |stream| {
            vec![Frame::headers(stream, 0, &POST), Frame::window(stream, 0x7fff_ffff)]
        }),
        ("data behind the end", |stream| {
            vec![Frame::get(stream, "/v1/echo/reset"), Frame::new(DATA, 0, stream, [0; 8])]
        }),
        ("a parent of itself", |stream| {
            vec![Frame::headers(stream, 0, &POST), Frame::priority(stream, stream)]
        }),
        ("a header behind the end", |stream| {
            vec![Frame::get(stream, "/v1/echo/reset"), Frame::headers(stream, END_STREAM, &POST)]
        }),
    ];
    for (name, variant) in variants {
        let ending = flood(&world, 20_000, |number| variant(stream(number))).await;
        assert!(ending.goaway.is_some(), "{name}: open after {} frames", ending.sent);
    }
    let ending = flood(&world, 20_000, |number| {
        vec![Frame::headers(stream(number), 0, &long), Frame::new(DATA, 0, stream(number), [0; 8])]
    })
    .await;
    assert!(ending.goaway.is_some(), "more data than announced: open after {} frames", ending.sent);
}

async fn c3_a_header_that_never_ends_ends_its_connection(world: Arc<World>) {
    for (name, piece) in [("of nothing", Vec::new()), ("of a byte", vec![0]), ("of plenty", vec![0; 16_000])]
    {
        let ending = flood(&world, 100_000, |number| match number {
            0 => vec![Frame::new(HEADERS, END_STREAM, 1, [])],
            _ => vec![Frame::new(CONTINUATION, 0, 1, piece.clone())],
        })
        .await;
        assert!(ending.is_over(), "{name}: open after {} frames", ending.sent);
    }
}

async fn c4_empty_data_without_end_ends_its_connection(world: Arc<World>) {
    let ending = flood(&world, 100_000, |number| match number {
        0 => vec![Frame::headers(1, 0, &POST)],
        _ => vec![Frame::new(DATA, 0, 1, [])],
    })
    .await;
    assert_eq!(ending.goaway, Some(ENHANCE_YOUR_CALM), "after {} frames", ending.sent);
}

async fn c5_a_header_list_that_unpacks_to_gigabytes_is_refused(world: Arc<World>) {
    // The first block puts four kilobytes into the table; each of the next names them sixteen thousand times, a byte a time.
    let mut seed = Vec::new();
    get("/v1/echo/seed")
        .iter()
        .for_each(|(name, value)| literal(&mut seed, name.as_bytes(), value.as_bytes()));
    let at = seed.len();
    literal(&mut seed, b"x-bomb", &[b'x'; 4000]);
    seed[at] = 0x40;
    let mut bomb = Vec::new();
    get("/v1/echo/bomb")
        .iter()
        .for_each(|(name, value)| literal(&mut bomb, name.as_bytes(), value.as_bytes()));
    // Index 62 is the first of the dynamic table.
    bomb.resize(16_000, 0xbe);
    let ending = flood(&world, 200, |number| {
        let block = if number == 0 { seed.clone() } else { bomb.clone() };
        vec![Frame::new(HEADERS, END_STREAM | END_HEADERS, stream(number), block)]
    })
    .await;
    let served = (1..200).filter(|number| ending.status(stream(*number)) == Some(200)).count();
    assert_eq!(served, 0, "no bomb is served: {:?}", ending.goaway);
}

async fn c6_control_frames_without_end_cost_no_memory(world: Arc<World>) {
    type Variant = fn(u32) -> Vec<Frame>;
    // Each is answered before the next is read, or needs no answer: a client that does not read stands still itself.
    let variants: [(&str, Variant); 5] = [
        ("pings", |number| vec![Frame::new(PING, 0, 0, u64::from(number).to_be_bytes())]),
        ("answers to pings", |number| vec![Frame::new(PING, ACK, 0, u64::from(number).to_be_bytes())]),
        ("settings", |number| vec![Frame::setting(3, number)]),
        ("empty settings", |_| vec![Frame::new(SETTINGS, 0, 0, [])]),
        ("priorities", |number| vec![Frame::priority(stream(number), 0)]),
    ];
    for (name, variant) in variants {
        let ending = flood(&world, 50_000, variant).await;
        assert!(ending.is_over() || ending.sent == 50_000, "{name}: {} frames", ending.sent);
    }
    // Fields whose names are empty, or name and value (CVE-2019-9516).
    let mut block = Vec::new();
    get("/v1/echo/zero")
        .iter()
        .for_each(|(name, value)| literal(&mut block, name.as_bytes(), value.as_bytes()));
    (0..4000).for_each(|_| literal(&mut block, b"", b""));
    let ending = flood(&world, 500, |number| {
        vec![Frame::new(HEADERS, END_STREAM | END_HEADERS, stream(number), block.clone())]
    })
    .await;
    assert!((0..500).all(|number| ending.status(stream(number)) != Some(200)), "{:?}", ending.goaway);
}

async fn c6_data_in_crumbs_ends_its_connection(world: Arc<World>) {
    let unread = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/echo.v1.EchoService/Chat"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    // Each stream is a conversation whose other side has stopped to read, fed a byte at a time.
    let connection = Connection::open_with(&world, &[Frame::setting(4, 0)]).await;
    let ending = withstands(
        &world,
        connection.flood(200_000, SOON, |number| match number {
            0 => (0..50).map(|number| Frame::headers(stream(number), 0, &unread)).collect(),
            _ => vec![Frame::new(DATA, 0, stream(number % 50), [0])],
        }),
    )
    .await;
    assert!(ending.is_over(), "open after {} frames", ending.sent);
}

async fn c6_answers_nobody_reads_are_not_kept(world: Arc<World>) {
    // A window of nothing: the edge may answer, and has to keep what it would say until it gives up.
    let connection = Connection::open_with(&world, &[Frame::setting(4, 0)]).await;
    let big = "x".repeat(2000);
    let ending = withstands(
        &world,
        connection.flood(2_000, SOON, |number| vec![Frame::get(stream(number), &format!("/v1/echo/{big}"))]),
    )
    .await;
    let data = ending.frames.iter().filter(|frame| frame.kind == DATA && !frame.payload.is_empty()).count();
    assert_eq!(data, 0, "nothing was to be sent");
    let refused = ending.frames.iter().filter(|frame| frame.kind == 3).count();
    assert!(ending.is_over() || refused > 1_000, "most streams found no room: {refused} did not");
}
