//! Bytes as clients send them, and what is heard and said of them.

use super::*;

const MESSAGE_BYTES_MAX: usize = 1000;

const CONTINUE: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const LAST: u8 = 0x80;

/// A frame of a client: its payload is masked.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut bytes = vec![head];
    match u16::try_from(payload.len()).unwrap() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn close(code: u16) -> Vec<u8> {
    frame(LAST | CLOSE, &code.to_be_bytes())
}

fn text(json: &str) -> Event {
    Event::Text(Bytes::copy_from_slice(json.as_bytes()))
}

/// Everything heard of `bytes` that arrive in pieces of a size.
fn heard(frames: &mut Frames, bytes: &[u8], piece_bytes: usize) -> Result<Vec<Event>, Broken> {
    let mut events = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        frames.receive(Bytes::copy_from_slice(piece));
        while let Some(event) = frames.next()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn said(frames: &mut Frames) -> Vec<u8> {
    let mut said = Vec::new();
    loop {
        let (piece, _) = frames.take(usize::MAX);
        if piece.is_empty() {
            return said;
        }
        said.extend_from_slice(&piece);
    }
}

#[test]
fn messages_are_heard_however_they_are_cut() {
    let fragmented = [
        frame(TEXT, b"{\"a\""),
        frame(LAST | PING, b"between"),
        frame(CONTINUE, b":"),
        frame(LAST | CONTINUE, b"1}"),
    ];
    for (bytes, expect) in [
        (frame(LAST | TEXT, b"{}"), vec![text("{}")]),
        (frame(LAST | TEXT, b""), vec![text("")]),
        ([frame(LAST | TEXT, b"1"), frame(LAST | TEXT, b"2")].concat(), vec![text("1"), text("2")]),
        (fragmented.concat(), vec![Event::Control, text("{\"a\":1}")]),
        (frame(LAST | TEXT, &[b'x'; MESSAGE_BYTES_MAX]), vec![text(&"x".repeat(MESSAGE_BYTES_MAX))]),
        ([frame(TEXT, &[0xc3]), frame(LAST | CONTINUE, &[0xa4])].concat(), vec![text("ä")]),
        (frame(LAST | PONG, b"unasked"), vec![Event::Control]),
        (close(1000), vec![Event::Close]),
        (frame(LAST | CLOSE, b""), vec![Event::Close]),
    ] {
        for piece_bytes in [1, 3, bytes.len()] {
            let mut frames = Frames::new(MESSAGE_BYTES_MAX);
            assert_eq!(heard(&mut frames, &bytes, piece_bytes).unwrap(), expect, "{bytes:?} {piece_bytes}");
        }
    }
}

#[test]
fn what_is_no_text_or_no_frame_is_broken() {
    let protocol = |problem: &str| Broken::Protocol(problem.to_owned());
    let unmasked = vec![LAST | TEXT, 2, b'{', b'}'];
    for (bytes, expect) in [
        (frame(LAST | BINARY, b"{}"), Broken::Binary),
        (frame(LAST | TEXT, &[b'x'; MESSAGE_BYTES_MAX + 1]), Broken::TooLarge),
        ([frame(TEXT, &[b'x'; 600]), frame(LAST | CONTINUE, &[b'x'; 600])].concat(), Broken::TooLarge),
        (frame(LAST | TEXT, &[0xff]), Broken::NotText),
        (unmasked, protocol("received an unmasked frame from client")),
        (frame(LAST | 0x40 | TEXT, b"{}"), protocol("reserved bits are non-zero")),
        (frame(LAST | CONTINUE, b"{}"), protocol("continue frame but nothing to continue")),
        (frame(PING, b""), protocol("fragmented control frame")),
        (
            frame(LAST | PING, &[0; 126]),
            protocol("control frame too big (payload must be 125 bytes or less)"),
        ),
        (frame(LAST | 0x3, b""), protocol("encountered invalid opcode: 3")),
    ] {
        let mut frames = Frames::new(MESSAGE_BYTES_MAX);
        assert_eq!(heard(&mut frames, &bytes, 3).unwrap_err(), expect, "{bytes:?}");
        // What follows is read away, and a goodbye can still be said.
        assert_eq!(
            heard(&mut frames, &frame(LAST | TEXT, b"{}"), 9).unwrap_or_default(),
            match expect {
                Broken::Binary => vec![text("{}")],
                Broken::TooLarge | Broken::NotText | Broken::Protocol(_) => vec![],
            }
        );
        frames.close(1002, "X");
        assert_eq!(said(&mut frames), [LAST | CLOSE, 3, 0x03, 0xea, b'X']);
    }
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    heard(&mut frames, &frame(LAST | PING, b"hi"), 5).unwrap();
    assert_eq!(said(&mut frames), [LAST | PONG, 2, b'h', b'i']);
}

#[test]
fn a_flood_of_pings_is_answered_by_a_few_and_the_last() {
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    for number in 0..10_000_u16 {
        let payload = [&number.to_be_bytes()[..], &[0; 123]].concat();
        heard(&mut frames, &frame(LAST | PING, &payload), 1000).unwrap();
    }
    assert!(frames.waiting() <= CONTROL_BYTES_MAX + WAITING_BYTES_MAX, "{}", frames.waiting());
    let said = said(&mut frames);
    assert!(said.len() <= CONTROL_BYTES_MAX + 3 * WAITING_BYTES_MAX, "{}", said.len());
    let last = said.len() - 125;
    assert_eq!(said[last..last + 2], 9_999_u16.to_be_bytes());
}

#[test]
fn a_goodbye_is_answered_behind_all_that_waits() {
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    frames.send(vec![b'x'; 10_000]);
    for _ in 0..3 {
        heard(&mut frames, &frame(LAST | PING, b"p"), 100).unwrap();
    }
    assert_eq!(heard(&mut frames, &close(1000), 100).unwrap(), [Event::Close]);
    let said = said(&mut frames);
    assert_eq!(said[said.len() - 4..], [LAST | CLOSE, 2, 0x03, 0xe8]);
    assert!(said.len() <= 10_004 + 4 + 3 * 3);
}

#[test]
fn the_answer_to_our_goodbye_is_heard() {
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    frames.send(b"{}".to_vec());
    frames.close(4005, "NOT_FOUND");
    let mut expect = vec![LAST | TEXT, 2, b'{', b'}', LAST | CLOSE, 11, 0x0f, 0xa5];
    expect.extend(b"NOT_FOUND");
    assert_eq!(said(&mut frames), expect);
    // What had been on its way comes before the answer.
    let bytes = [frame(LAST | TEXT, b"{}"), close(4005)].concat();
    assert_eq!(heard(&mut frames, &bytes, 4).unwrap(), [text("{}"), Event::Close]);
}

#[test]
fn a_piece_tells_whether_a_message_is_in_it() {
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    heard(&mut frames, &frame(LAST | PING, b"p"), 100).unwrap();
    assert!(!frames.take(100).1);
    frames.send(vec![b'x'; 100]);
    heard(&mut frames, &frame(LAST | PING, b"p"), 100).unwrap();
    let pieces: Vec<_> = (0..3).map(|_| frames.take(60)).map(|(piece, says)| (piece.len(), says)).collect();
    assert_eq!(pieces, [(60, true), (45, true), (0, false)]);
}
