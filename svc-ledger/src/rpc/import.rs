//! ImportTransfers: transfers without an end, judged as they arrive and answered in order. The stream is one task that reads, lets
//! chains wait for the writer and answers, all by turns; it reads on only while few enough are unanswered, and the windows of HTTP/2
//! pass that on to the sender. What it leaves when it breaks, on either side, is its beginning, in whole chains.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;

use chassis::call::Call;
use chassis::error::Violation;
use proto::ledger::v1 as pb;
use tonic::{Status, Streaming};

use super::several::{Parsed, Sender, TOGETHER_MAX};
use super::{Rpc, convert, journal};
use crate::domain::command::{FailureMode, Unit};
use crate::domain::verdict::Verdict;
use crate::error::Error;
use crate::store::{Judging, Series};

/// How many transfers are taken in before the first of them is answered: the contract says so. Two of the longest chains, so that
/// one can gather while another is judged.
const UNANSWERED_MAX: usize = 2 * TOGETHER_MAX;

/// Where a transfer stands in its message.
const PATH: &str = "transfer.";

impl Rpc {
    /// The answers to a stream of transfers.
    pub(super) fn import(
        &self,
        call: &Call,
        messages: Streaming<pb::ImportTransfersRequest>,
    ) -> Result<journal::Stream<pb::ImportTransfersResponse>, Error> {
        let sender = Sender::of(self, call, "LedgerService/ImportTransfers");
        // The policy lets nobody else come; a mistake in it must not let customers pass by what is judged of a call of theirs.
        if !sender.actor.staff {
            return Err(Error::NotPermitted);
        }
        let import = Import {
            series: Series::default(),
            rpc: self.clone(),
            sender,
            messages,
            stopping: Box::pin(self.store.stopping()),
            reading: true,
            position: 0,
            unanswered: 0,
            chain: Vec::new(),
            whole: None,
            judged: VecDeque::new(),
            answers: VecDeque::new(),
            end: None,
        };
        Ok(Box::pin(futures::stream::unfold(import, async |mut import| {
            let answer = import.next().await?;
            Some((answer, import))
        })))
    }
}

/// A transfer of the stream that has been read.
struct Item {
    position: i64,
    parsed: Result<Parsed, Error>,
}

/// A chain whose transfers are all fit to be judged.
struct Chain {
    unit: Unit,
    named: Vec<(i64, convert::Names)>,
}

/// What becomes of a chain, in the order of the stream.
enum Fate {
    Judging(Judging, Vec<(i64, convert::Names)>),
    Unfit(Vec<(i64, Error)>),
}

/// A transfer by its position: its verdict, or why it has none.
type Answerable = (i64, Result<(Verdict, convert::Names), Error>);

/// What a stream waits for.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and most are the large one")]
enum Event {
    /// A chain waits for the writer.
    Waits(Result<Fate, Error>),
    Came(Result<Option<pb::ImportTransfersRequest>, Status>),
    Judged(Result<Vec<Verdict>, Error>),
    Stops,
}

struct Import {
    /// First, because it must be dropped first: if what waits was given up one by one before it, some of it could be judged without
    /// what was before it.
    series: Series,
    rpc: Rpc,
    sender: Sender,
    messages: Streaming<pb::ImportTransfersRequest>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether more may come.
    reading: bool,
    /// The last one read.
    position: i64,
    /// How many have been read and not been answered.
    unanswered: usize,
    /// The chain that is being read: all of it is linked.
    chain: Vec<Item>,
    /// A chain that waits for room.
    whole: Option<Chain>,
    /// Chains that wait for their verdicts.
    judged: VecDeque<Fate>,
    answers: VecDeque<pb::ImportTransfersResponse>,
    /// How the stream ends, when everything that can be answered has been.
    end: Option<Status>,
}

impl Import {
    /// The next answer, or how the stream ends.
    async fn next(&mut self) -> Option<Result<pb::ImportTransfersResponse, Status>> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                self.unanswered -= 1;
                return Some(Ok(answer));
            }
            let waits = self.whole.as_ref().map_or(0, |chain| chain.named.len());
            // Reading first keeps the writer busy; how much is read is bounded, so that everything else gets its turn.
            let event = tokio::select! {
                biased;
                room = self.rpc.store.room(waits), if waits > 0 => {
                    Event::Waits(room.and_then(|room| match self.whole.take() {
                        Some(chain) => Ok(Fate::Judging(room.take(chain.unit, &self.series)?, chain.named)),
                        None => Err(Error::Corrupt("chain")),
                    }))
                }
                message = self.messages.message(), if self.reading && waits == 0 && self.unanswered < UNANSWERED_MAX => {
                    Event::Came(message)
                }
                verdicts = first(&mut self.judged), if !self.judged.is_empty() => Event::Judged(verdicts),
                () = &mut self.stopping, if self.reading => Event::Stops,
                else => return self.end.take().map(Err),
            };
            match event {
                Event::Waits(Ok(judging)) => self.judged.push_back(judging),
                Event::Waits(Err(error)) => self.stop_reading(error.into()),
                Event::Came(message) => self.read(message),
                Event::Judged(verdicts) => self.answer(verdicts).await,
                Event::Stops => self.stop_reading(Error::NotDone.into()),
            }
        }
    }

    /// Takes nothing in any more; what waits already is still judged and answered.
    fn stop_reading(&mut self, end: Status) {
        self.reading = false;
        self.end.get_or_insert(end);
        self.whole = None;
        self.chain.clear();
    }

    fn read(&mut self, message: Result<Option<pb::ImportTransfersRequest>, Status>) {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => {
                self.reading = false;
                if let Some(last) = self.chain.last_mut() {
                    last.parsed = Err(invalid("transfer.linked", "must not be set for the last one"));
                    self.close_chain();
                }
                return;
            }
            Err(broken) => return self.stop_reading(broken),
        };
        if message.position <= self.position {
            return self.stop_reading(invalid("position", "must be greater than that before").into());
        }
        self.position = message.position;
        let transfer = message.transfer.unwrap_or_default();
        let linked = transfer.linked;
        let parsed = self.sender.parse(PATH, transfer);
        self.chain.push(Item { position: message.position, parsed });
        self.unanswered += 1;
        if !linked {
            self.close_chain();
        } else if self.chain.len() == TOGETHER_MAX {
            self.stop_reading(invalid("transfer.linked", "must not chain more than 1,000").into());
        }
    }

    /// Lets the chain that was read wait for the writer, or answers that it cannot be judged.
    fn close_chain(&mut self) {
        let mut chain = std::mem::take(&mut self.chain);
        let mut keys = HashSet::new();
        for item in &mut chain {
            let twice = item.parsed.as_ref().is_ok_and(|(_, named)| !keys.insert(named.request_id.clone()));
            if twice {
                item.parsed = Err(invalid("transfer.request_id", "must not be another transfer's"));
            }
        }
        if chain.iter().any(|item| item.parsed.is_err()) {
            // The others were not judged, and may come again in a chain that is fit.
            let error = |item: Item| (item.position, item.parsed.err().unwrap_or(Error::NotAttempted));
            self.judged.push_back(Fate::Unfit(chain.into_iter().map(error).collect()));
            return;
        }
        let (mut commands, mut named) = (Vec::with_capacity(chain.len()), Vec::with_capacity(chain.len()));
        for Item { position, parsed } in chain {
            if let Ok((command, names)) = parsed {
                commands.push(command);
                named.push((position, names));
            }
        }
        self.whole = Some(Chain { unit: Unit { commands, mode: FailureMode::Continue }, named });
    }

    /// Answers the first chain, and with it all behind it whose verdicts are there: what was made before is read back at once.
    async fn answer(&mut self, mut verdicts: Result<Vec<Verdict>, Error>) {
        let mut ready: Vec<Answerable> = Vec::new();
        loop {
            match (verdicts, self.judged.pop_front()) {
                (Ok(verdicts), Some(Fate::Judging(_, named))) => {
                    let one = |((position, names), verdict)| (position, Ok((verdict, names)));
                    ready.extend(named.into_iter().zip(verdicts).map(one));
                }
                (Ok(_), Some(Fate::Unfit(errors))) => {
                    ready.extend(errors.into_iter().map(|(position, error)| (position, Err(error))));
                }
                (Ok(_), None) => break,
                (Err(error), _) => {
                    self.give_up(error);
                    break;
                }
            }
            match self.judged.front_mut() {
                Some(Fate::Judging(judging, _)) => match judging.ready() {
                    Some(more) => verdicts = more,
                    None => break,
                },
                Some(Fate::Unfit(_)) => verdicts = Ok(Vec::new()),
                None => break,
            }
        }
        self.answer_all(ready).await;
    }

    async fn answer_all(&mut self, ready: Vec<Answerable>) {
        let (mut positions, mut judged) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
        for (position, became) in ready {
            positions.push((position, became.map(|became| judged.push(became)).err()));
        }
        let mut results = match self.rpc.results(judged).await {
            Ok(results) => results.into_iter(),
            Err(error) => return self.give_up(error),
        };
        self.answers.extend(positions.into_iter().map(|(position, unfit)| {
            let result = match unfit {
                Some(error) => Some(convert::result::result(Err(error))),
                None => results.next(),
            };
            pb::ImportTransfersResponse { position, result }
        }));
    }

    /// Ends the stream behind what has been answered: nothing that waits is judged any more, if it was not yet.
    fn give_up(&mut self, error: Error) {
        self.series.break_off();
        self.judged.clear();
        self.end = None;
        self.stop_reading(error.into());
    }
}

/// The verdicts of the first chain.
async fn first(judged: &mut VecDeque<Fate>) -> Result<Vec<Verdict>, Error> {
    match judged.front_mut() {
        Some(Fate::Judging(judging, _)) => judging.verdicts().await,
        Some(Fate::Unfit(_)) | None => Ok(Vec::new()),
    }
}

fn invalid(field: &str, description: &str) -> Error {
    Error::Invalid(vec![Violation::new(field, description)])
}
