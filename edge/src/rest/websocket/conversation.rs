//! A call over a WebSocket, from its first message to how it ended. Each direction gets its turn before the other gets another,
//! and each stops where nothing more fits: a message that cannot go on is not read, neither here nor there. A flood of pings
//! keeps no call alive, for only messages move it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::super::Target;
use super::super::answer::{Answer, Status};
use super::frames::{Broken, Event};
use super::requests::Requests;
use super::socket::Socket;
use crate::error::Error;
use crate::request::Call;
use crate::upstream::UpstreamStream;

/// Messages that have arrived together leave together, up to this many bytes.
const GATHER_BYTES: usize = 16 * 1024;
/// What the end of the grace leaves for goodbyes.
const GOODBYE: Duration = Duration::from_secs(2);

/// Resolves when the process is stopping and its grace is nearly over.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a conversation ended.
pub(super) enum End {
    /// The upstream has said all.
    Answered(Status),
    /// The edge refused it, or the upstream failed.
    Failed(Error),
    /// What the client sent cannot be read.
    Broken(Broken),
    /// The client has said goodbye.
    Left,
    /// The process is stopping, and its grace is nearly over.
    Stopping,
    /// The client is gone.
    Gone(pingora::BError),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<pingora::BError> for End {
    fn from(error: pingora::BError) -> Self {
        Self::Gone(error)
    }
}

/// See the module.
pub(super) struct Conversation<'a, 's> {
    call: &'a Call,
    target: &'a Target<'a>,
    socket: &'a mut Socket<'s>,
    requests: Requests<'a>,
    /// The call until the head of its answer has come; from then on it is part of that.
    called: Option<UpstreamStream>,
    answer: Option<Answer>,
    moved_at: Instant,
}

impl<'a, 's> Conversation<'a, 's> {
    pub(super) fn new(
        call: &'a Call,
        target: &'a Target<'a>,
        socket: &'a mut Socket<'s>,
        called: UpstreamStream,
    ) -> Self {
        let requests = Requests::new(target, call.snapshot.limits.message_bytes_max);
        let moved_at = Instant::now();
        Self { call, target, socket, requests, called: Some(called), answer: None, moved_at }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self) -> End {
        let Call { deadline, idle, grace, .. } = *self.call;
        let stopping = self.call.drain.stopping();
        let mut stop: Stop = Box::pin(async move {
            stopping.await;
            sleep(grace.saturating_sub(GOODBYE)).await;
        });
        loop {
            let idle_until = idle.map_or(deadline, |idle| self.moved_at + idle);
            let until = deadline.min(idle_until);
            let turn = poll_fn(|cx| self.poll_turn(cx, &mut stop));
            match timeout_at(until, turn).await {
                Ok(Ok(())) if Instant::now() < deadline => (),
                Ok(Err(end)) => return end,
                Err(_) if until < deadline => return Error::StreamIdle.into(),
                // A busy stream meets its end as well.
                Ok(Ok(())) | Err(_) => return Error::DeadlineExceeded.into(),
            }
            // A stream that is always ready on both sides would otherwise keep its thread.
            tokio::task::coop::consume_budget().await;
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, stop: &mut Stop) -> Poll<Result<(), End>> {
        let mut went = false;
        if let Poll::Ready(received) = self.poll_down(cx) {
            received?;
            (went, self.moved_at) = (true, Instant::now());
        }
        if let Poll::Ready(sent) = self.poll_up(cx) {
            sent?;
            went = true;
        }
        // Last, for what was read may have to be answered: a ping wakes nobody but its reader.
        if let Poll::Ready(says) = self.socket.poll_write(cx) {
            went = true;
            if says? {
                self.moved_at = Instant::now();
            }
        }
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(End::Stopping));
        }
        if went { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Receives from the upstream what the client has room for.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.socket.frames.waiting() >= GATHER_BYTES {
            return Poll::Pending;
        }
        let Some(answer) = &mut self.answer else { return self.poll_head(cx) };
        let mut took = false;
        while self.socket.frames.waiting() < GATHER_BYTES
            && let Some(message) = answer.take()?
        {
            let mut json = Vec::with_capacity(128 + message.len() * 3);
            self.target.decode(&message, &mut json)?;
            self.socket.frames.send(json);
            took = true;
        }
        if took {
            return Poll::Ready(Ok(()));
        }
        if answer.has_ended() {
            answer.whole()?;
            return Poll::Ready(Err(End::Answered(answer.status())));
        }
        answer.poll_receive(cx).map_err(End::from)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Some(called) = &mut self.called else { return Poll::Pending };
        let head = ready!(called.poll_response_header(cx)).map_err(Error::from)?;
        if let Some(called) = self.called.take() {
            self.answer = Some(Answer::new(called, head, self.call)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends to the upstream, and reads from the client what there is room for.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let upstream = self.answer.as_mut().map(Answer::stream).or(self.called.as_mut());
        if let Some(upstream) = upstream
            && self.requests.poll_send(cx, upstream).is_ready()
        {
            self.moved_at = Instant::now();
            return Poll::Ready(Ok(()));
        }
        let (mut took, mut read) = (false, false);
        while self.requests.has_room() {
            match self.socket.frames.next()? {
                Some(Event::Text(json)) => {
                    self.requests.take(self.socket.session(), &json)?;
                    took = true;
                }
                Some(Event::Control) => read = false,
                Some(Event::Close) => return Poll::Ready(Err(End::Left)),
                None => {
                    // A part of a message moves a call as well.
                    took |= read;
                    let Poll::Ready(piece) = self.socket.poll_read(cx) else { break };
                    piece?;
                    read = true;
                }
            }
        }
        if !took {
            return Poll::Pending;
        }
        self.moved_at = Instant::now();
        Poll::Ready(Ok(()))
    }
}
