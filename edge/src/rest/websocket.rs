//! A dialogue over a WebSocket (RFC 6455): one JSON message a text frame, both ways at once. An empty text says that no more
//! requests come, for a WebSocket cannot be closed by halves; the call ends when the service has answered, and a client that
//! closes before that gives it up.
//!
//! What can be refused before the handshake is refused by an ordinary answer. Later a failure is told twice: as the last text, in
//! the shape of every error, and by the code of the closing frame, 4000 and the number of the gRPC code. See docs/adr/0011.

mod conversation;
mod frames;
mod handshake;
mod requests;
mod socket;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Session;
use tokio::time::timeout;
use tonic::Code;

use super::Target;
use crate::error::Error;
use crate::rate;
use crate::request::{Call, Ended, Record};
use crate::transcode::{code_name, status_json};
use conversation::{Conversation, End};
use frames::{Broken, Event};
pub use handshake::wishes;
use socket::Socket;

/// How long the client may take to answer our goodbye, before the connection is closed all the same.
const LINGER: Duration = Duration::from_secs(1);

/// Closing codes (RFC 6455 section 7.4). From 4000 on they are an application's own.
const NORMAL: u16 = 1000;
const AWAY: u16 = 1001;
const PROTOCOL: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const NOT_TEXT: u16 = 1007;
const TOO_LARGE: u16 = 1009;
const GRPC: u16 = 4000;

/// Serves a dialogue to its end.
///
/// # Errors
/// [`Ended`]: a refusal if nothing has been written so far.
pub async fn serve(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let accept = handshake::accept(&session.req_header().headers)?;
    // What path and query get wrong is told while HTTP can tell it; the first message says the same again.
    target.encode(session, &[], &mut Vec::new())?;
    let upstream = call.open(&session.req_header().headers, record).await?;
    // A service may wait for the first message before it answers, so its answer cannot be waited for.
    let mut header = ResponseHeader::build(101, Some(3))?;
    header.insert_header(UPGRADE, "websocket")?;
    header.insert_header(CONNECTION, "Upgrade")?;
    header.insert_header(SEC_WEBSOCKET_ACCEPT, accept)?;
    rate::put_fields(call.standing.as_ref(), |name, value| header.insert_header(name, value))?;
    session.write_response_header(Box::new(header)).await?;

    let mut socket = Socket::new(session, call.snapshot.limits.message_bytes_max);
    let end = Conversation::new(call, target, &mut socket, upstream).run().await;
    record.upstream_ends();
    let mut answered = matches!(end, End::Left);
    say(&mut socket, call, target, record, end)?;
    poll_fn(|cx| poll_out(&mut socket, cx, &mut answered)).await?;
    if !answered {
        // A connection that is closed on unread bytes is reset, and the reset may overtake what was said last.
        let _ = timeout(LINGER, poll_fn(|cx| poll_answer(&mut socket, cx))).await;
    }
    Ok(())
}

/// Says how it ended.
fn say(
    socket: &mut Socket<'_>,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
    end: End,
) -> Result<(), Ended> {
    let (code, name) = match end {
        End::Answered(status) => {
            record.ended(status.code);
            if status.code == Code::Ok {
                (NORMAL, "")
            } else {
                let mut json = Vec::with_capacity(256);
                status_json(&status.failed(), Some(target.binding.types()), &mut json);
                socket.frames.send(json);
                of(status.code)
            }
        }
        End::Failed(error) => {
            refuse(socket, record, &error);
            of(error.code())
        }
        End::Broken(broken) => {
            let (code, error) = broken.told(call.snapshot.limits.message_bytes_max);
            refuse(socket, record, &error);
            (code, of(error.code()).1)
        }
        End::Stopping => {
            record.cut("drain");
            (AWAY, "")
        }
        End::Left => {
            record.cut("downstream");
            return Ok(());
        }
        End::Gone(error) => return Err(error.into()),
    };
    socket.frames.close(code, name);
    Ok(())
}

fn refuse(socket: &mut Socket<'_>, record: &mut Record, error: &Error) {
    record.refused(error);
    let status = record.status(error);
    let failed = error.failed(&status);
    let mut json = Vec::with_capacity(512);
    status_json(&failed, None, &mut json);
    socket.frames.send(json);
}

/// The closing code and its reason.
fn of(code: Code) -> (u16, &'static str) {
    let number = code as u32;
    (GRPC + u16::try_from(number).unwrap_or(Code::Unknown as u16), code_name(number))
}

impl Broken {
    fn told(self, message_bytes_max: usize) -> (u16, Error) {
        let refused = |problem: &str| Error::FrameRefused { problem: problem.to_owned() };
        match self {
            Self::Binary => (UNSUPPORTED, refused("binary frames are not taken")),
            Self::TooLarge => (TOO_LARGE, Error::BodyTooLarge { bytes_max: message_bytes_max }),
            Self::NotText => (NOT_TEXT, refused("the text is not UTF-8")),
            Self::Protocol(problem) => (PROTOCOL, Error::FrameRefused { problem }),
        }
    }
}

/// Writes all that waits. What the client still sends is read away, for it may not read before it has sent it.
fn poll_out(socket: &mut Socket<'_>, cx: &mut Context<'_>, answered: &mut bool) -> Poll<pingora::Result<()>> {
    loop {
        match socket.poll_write(cx) {
            Poll::Ready(written) => drop(written?),
            Poll::Pending if socket.is_writing() => break,
            Poll::Pending => return Poll::Ready(Ok(())),
        }
    }
    if !*answered {
        *answered = poll_answer(socket, cx).is_ready();
    }
    Poll::Pending
}

/// Resolves when the client has answered the goodbye, or is gone.
fn poll_answer(socket: &mut Socket<'_>, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        match socket.frames.next() {
            Ok(Some(Event::Close)) => return Poll::Ready(()),
            Ok(Some(Event::Text(_) | Event::Control)) | Err(_) => (),
            Ok(None) => {
                if ready!(socket.poll_read(cx)).is_err() {
                    return Poll::Ready(());
                }
            }
        }
    }
}
