//! BatchCreateTransfers: up to a thousand transfers judged in one batch of the store. All are parsed before any is judged, and one
//! that cannot be parsed leaves all unjudged; the answer has a result for each, in order.

use std::collections::HashSet;

use chassis::call::Call;
use chassis::error::Violation;
use proto::ledger::v1 as pb;

use super::several::{Parsed, Sender, TOGETHER_MAX};
use super::{Rpc, convert, refused};
use crate::domain::command::{FailureMode, Unit};
use crate::domain::verdict::{Refusal, Verdict};
use crate::error::Error;

impl Rpc {
    pub(super) async fn create_batch(
        &self,
        call: &Call,
        request: pb::BatchCreateTransfersRequest,
    ) -> Result<pb::BatchCreateTransfersResponse, Error> {
        let (unit, named) = parse(&Sender::of(self, call, "LedgerService/BatchCreateTransfers"), request)?;
        let verdicts = self.store.submit_by(unit, call.deadline.instant()).await?;
        // A caller without any right is refused as such, whatever it asked for: it is not a call with bad luck.
        if let (true, Some(first)) = (is_denied(&verdicts), named.first()) {
            return Err(refused(Refusal::NotPermitted, first));
        }
        let results = self.results(verdicts.into_iter().zip(named).collect()).await?;
        Ok(pb::BatchCreateTransfersResponse { results })
    }
}

/// The unit that is asked for, and how each of its transfers is named.
fn parse(
    sender: &Sender,
    request: pb::BatchCreateTransfersRequest,
) -> Result<(Unit, Vec<convert::Names>), Error> {
    let mode = failure_mode(request.failure_mode());
    let known_mode = pb::FailureMode::try_from(request.failure_mode).is_ok();
    let count = request.requests.len();
    // A count that cannot be taken is refused before anything is done for it.
    if !(1..=TOGETHER_MAX).contains(&count) {
        return Err(Error::Invalid(vec![Violation::new("requests", "must be 1 to 1,000 transfers")]));
    }
    let mut violations = Vec::new();
    if !known_mode {
        violations.push(Violation::new("failure_mode", "must be a known mode"));
    }
    let mut keys = HashSet::with_capacity(count);
    let (mut commands, mut named) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (place, transfer) in request.requests.into_iter().enumerate() {
        let path = format!("requests[{place}].");
        if !transfer.request_id.is_empty() && !keys.insert(transfer.request_id.clone()) {
            violations.push(Violation::new(format!("{path}request_id"), "must not be another transfer's"));
        }
        if transfer.linked && place + 1 == count {
            violations.push(Violation::new(format!("{path}linked"), "must not be set for the last one"));
        }
        let (command, names): Parsed = match sender.parse(&path, transfer) {
            Ok(parsed) => parsed,
            Err(Error::Invalid(more)) => {
                violations.extend(more);
                continue;
            }
            Err(error) => return Err(error),
        };
        commands.push(command);
        named.push(names);
    }
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    for command in &mut commands {
        command.validate_only = request.validate_only;
    }
    Ok((Unit { commands, mode }, named))
}

/// Whether everything that was judged was none of the caller's to ask for, and nothing else was judged.
fn is_denied(verdicts: &[Verdict]) -> bool {
    let denied = Verdict::Refused(Refusal::NotPermitted);
    let unjudged = [Verdict::Refused(Refusal::ChainFailed), Verdict::NotAttempted];
    verdicts.contains(&denied) && verdicts.iter().all(|one| *one == denied || unjudged.contains(one))
}

fn failure_mode(mode: pb::FailureMode) -> FailureMode {
    match mode {
        pb::FailureMode::Unspecified | pb::FailureMode::Continue => FailureMode::Continue,
        pb::FailureMode::Stop => FailureMode::Stop,
        pb::FailureMode::Atomic => FailureMode::Atomic,
    }
}
