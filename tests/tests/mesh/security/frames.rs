//! B9 and C7: frames and header blocks of HTTP/2 that break its rules. A stream or a connection ends with an error; none becomes
//! a request that means something else on the other side.

use std::sync::Arc;

use e2e::World;
use e2e::wire::h2::{
    Connection, DATA, END_HEADERS, END_STREAM, Ending, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, Frame, HEADERS,
    PING, PROTOCOL_ERROR, REFUSED_STREAM, SETTINGS, STREAM_CLOSED, get, literal,
};

crate::tests![
    b9_a_header_block_that_breaks_the_rules_is_no_request,
    b9_a_body_is_as_long_as_it_says,
    c7_streams_are_numbered_counted_and_bounded,
    c7_frames_have_their_sizes_and_places,
];

/// What came of the frames on stream 1.
async fn outcome(world: &World, frames: &[Frame]) -> Ending {
    let mut connection = Connection::open(world).await;
    connection.send(frames).await;
    connection.answers(&[1]).await
}

/// Whether the edge refused what came on a stream: reset, disconnected, or answered with an error of the client's.
fn refused(ending: &Ending, stream: u32) -> bool {
    match ending.status(stream) {
        Some(status) => (400..500).contains(&status),
        None => ending.is_over() || ending.reset(stream).is_some(),
    }
}

async fn b9_a_header_block_that_breaks_the_rules_is_no_request(world: Arc<World>) {
    let extra = [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("connection", "x-forged"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, chunked"),
        ("host", "evil.example"),
        ("X-Upper", "1"),
        ("x: y", "1"),
        ("x y", "1"),
        ("", "1"),
        ("x\r\ny", "1"),
        ("x\0", "1"),
        (":unknown", "1"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", " lead\0"),
        (":path", "/v1/echo/again"),
        (":status", "200"),
        (":protocol", "websocket"),
        ("content-length", "1"),
        ("content-length", "x"),
        ("content-length", "+0"),
        ("cookie", "a\r\nx: y"),
    ];
    let mut attacks: Vec<(String, Vec<(&str, &str)>)> = Vec::new();
    for (name, value) in extra {
        let mut fields = get("/v1/echo/first").to_vec();
        fields.push((name, value));
        attacks.push((format!("{name:?}: {value:?}"), fields));
    }
    for path in [
        "",
        "v1/echo/first",
        "*",
        "/v1/echo/a b",
        "/v1/echo/a\r\nx: y",
        "/v1/echo/a\0",
        "https://evil/v1/echo/first",
        "/v1/echo/first HTTP/1.1\r\nhost: evil",
    ] {
        attacks.push((format!(":path {path:?}"), get(path).to_vec()));
    }
    for (index, value) in [
        (0, "GET / HTTP/1.1\r\nx:"),
        (0, ""),
        (0, "G ET"),
        (0, "CONNECT"),
        (1, "https://evil/?x="),
        (2, "evil@localhost"),
        (2, "local host"),
        (2, "localhost\r\nx: y"),
    ] {
        let mut fields = get("/v1/echo/first").to_vec();
        fields[index].1 = value;
        attacks.push((format!("{} {value:?}", fields[index].0), fields));
    }
    for missing in [0, 1, 3] {
        let mut fields = get("/v1/echo/first").to_vec();
        let (name, _) = fields.remove(missing);
        attacks.push((format!("no {name}"), fields));
    }
    let mut late = get("/v1/echo/first").to_vec();
    late.insert(0, ("x", "1"));
    attacks.push(("a pseudo header behind a field".to_owned(), late));
    let mut wrong = Vec::new();
    for (name, fields) in attacks {
        let ending = outcome(&world, &[Frame::headers(1, END_STREAM, &fields)]).await;
        if !refused(&ending, 1) {
            wrong.push((name, ending));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn b9_a_body_is_as_long_as_it_says(world: Arc<World>) {
    let post = |length: &str, body: &[u8]| {
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/v1/echo"),
            ("content-type", "application/json"),
            ("content-length", length),
        ];
        [Frame::headers(1, 0, &fields), Frame::new(DATA, END_STREAM, 1, body)]
    };
    let right = outcome(&world, &post("2", b"{}")).await;
    assert_eq!(right.status(1), Some(200), "{right:?}");
    for (length, body) in
        [("1", &b"{}"[..]), ("3", b"{}"), ("0", b"{}GET /v1/echo/smuggled HTTP/1.1\r\n"), ("4", b"")]
    {
        let ending = outcome(&world, &post(length, body)).await;
        assert!(refused(&ending, 1), "{length}: {ending:?}");
    }
}

async fn c7_streams_are_numbered_counted_and_bounded(world: Arc<World>) {
    // One more than the listener's hundred: that one is refused and may be tried again, the others are served.
    let mut connection = Connection::open(&world).await;
    let streams: Vec<u32> = (0..101).map(|number| 2 * number + 1).collect();
    let post = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/v1/echo"),
        ("content-type", "application/json"),
    ];
    let open: Vec<_> = streams.iter().map(|stream| Frame::headers(*stream, 0, &post)).collect();
    connection.send(&open).await;
    let end: Vec<_> =
        streams[..100].iter().map(|stream| Frame::new(DATA, END_STREAM, *stream, *b"{}")).collect();
    connection.send(&end).await;
    let ending = connection.answers(&streams).await;
    assert_eq!(ending.reset(201), Some(REFUSED_STREAM), "{:?}", ending.goaway);
    assert!(streams[..100].iter().all(|stream| ending.status(*stream).is_some()), "the others are answered");

    let first = Frame::get(5, "/v1/echo/first");
    for (name, frames, codes) in [
        (
            "a number used again",
            vec![first.clone(), Frame::get(5, "/v1/echo/again")],
            &[STREAM_CLOSED, PROTOCOL_ERROR][..],
        ),
        (
            "a number below the last",
            vec![first.clone(), Frame::get(3, "/v1/echo/again")],
            &[STREAM_CLOSED, PROTOCOL_ERROR],
        ),
        ("an even number", vec![Frame::get(2, "/v1/echo/first")], &[PROTOCOL_ERROR]),
        ("stream zero", vec![Frame::get(0, "/v1/echo/first")], &[PROTOCOL_ERROR]),
        ("a window for a stream that is none", vec![Frame::window(7, 1)], &[PROTOCOL_ERROR]),
        (
            "too large a window",
            vec![Frame::window(0, 0x7fff_ffff), Frame::window(0, 0x7fff_ffff)],
            &[FLOW_CONTROL_ERROR],
        ),
        ("a window of nothing", vec![Frame::window(0, 0)], &[PROTOCOL_ERROR]),
    ] {
        let ending = outcome(&world, &frames).await;
        assert!(ending.goaway.is_some_and(|code| codes.contains(&code)), "{name}: {ending:?}");
    }
    let ending = outcome(&world, &[Frame::headers(1, 0, &post), Frame::window(1, 0x7fff_ffff)]).await;
    assert_eq!(ending.reset(1).or(ending.goaway), Some(FLOW_CONTROL_ERROR), "{ending:?}");
}

async fn c7_frames_have_their_sizes_and_places(world: Arc<World>) {
    let mut block = Vec::new();
    get("/v1/echo/first")
        .iter()
        .for_each(|(name, value)| literal(&mut block, name.as_bytes(), value.as_bytes()));
    let open = Frame::new(HEADERS, END_STREAM, 1, block.clone());
    let whole = Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, block);
    for (name, frames) in [
        ("a ping of seven bytes", vec![Frame::new(PING, 0, 0, [0; 7])]),
        ("a ping on a stream", vec![Frame::new(PING, 0, 1, [0; 8])]),
        ("settings of five bytes", vec![Frame::new(SETTINGS, 0, 0, [0; 5])]),
        ("settings on a stream", vec![Frame::new(SETTINGS, 0, 1, [])]),
        ("an answer to settings with a setting", vec![Frame::new(SETTINGS, 1, 0, [0; 6])]),
        ("too large an initial window", vec![Frame::setting(4, 0x8000_0000)]),
        ("too small a frame size", vec![Frame::setting(5, 1)]),
        ("push that is neither on nor off", vec![Frame::setting(2, 2)]),
        ("a frame above the agreed size", vec![Frame::new(DATA, 0, 1, vec![0; 1 << 20])]),
        ("data on stream zero", vec![Frame::new(DATA, 0, 0, [0; 4])]),
        ("data before a header", vec![Frame::new(DATA, 0, 1, [0; 4])]),
        ("a header block that something else interrupts", vec![open.clone(), Frame::new(PING, 0, 0, [0; 8])]),
        ("a header block that another stream continues", vec![open, Frame::new(9, END_HEADERS, 3, [])]),
        ("a continuation of nothing", vec![Frame::new(9, END_HEADERS, 1, [])]),
        ("more padding than frame", vec![Frame::new(HEADERS, END_STREAM | END_HEADERS | 8, 1, [200, 0])]),
        ("a promise from a client", vec![Frame::new(5, END_HEADERS, 1, [0, 0, 0, 2])]),
        (
            "a table index that is none",
            vec![Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, [0xff, 0xff, 0x7f])],
        ),
        (
            "a block that ends in a field",
            vec![Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, [0, 5, b'x'])],
        ),
    ] {
        let ending = outcome(&world, &frames).await;
        let known = [PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, STREAM_CLOSED, 9];
        assert!(ending.goaway.is_some_and(|code| known.contains(&code)), "{name}: {ending:?}");
    }
    let ending = outcome(&world, &[whole]).await;
    assert_eq!(ending.status(1), Some(200), "what keeps the rules is served: {ending:?}");
}
