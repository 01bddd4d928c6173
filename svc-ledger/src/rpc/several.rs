//! What BatchCreateTransfers and ImportTransfers share: transfers of one caller parsed one by one, and their verdicts answered one by
//! one. Each is parsed, judged, recorded for the audit and answered as CreateTransfer would.

use std::sync::Arc;

use chassis::call::Call;
use chassis::error::Violation;
use proto::ledger::v1 as pb;
use uuid::Uuid;

use super::terms;
use super::{Rpc, convert, refused};
use crate::config;
use crate::domain::audit::Witness;
use crate::domain::command::{Actor, Command, Seed};
use crate::domain::verdict::{self, Verdict};
use crate::error::Error;

/// The most transfers that stand or fall together, and the most in one BatchCreateTransfers: a fraction of the store's batch, so
/// that no caller's unit keeps others out of it.
pub(super) const TOGETHER_MAX: usize = 1_000;

/// A transfer to be judged, and how its caller named what it is about.
pub(super) type Parsed = (Command, convert::Names);

/// The caller of several transfers.
pub(super) struct Sender {
    pub(super) actor: Actor,
    bank: Arc<config::Ledger>,
    /// What the audit is told of each.
    call: Vec<u8>,
}

impl Sender {
    /// The caller of `method`.
    pub(super) fn of(rpc: &Rpc, call: &Call, method: &str) -> Self {
        Self {
            actor: rpc.actor(call),
            bank: Arc::clone(&rpc.bank),
            call: convert::audit::witness(call, method).call,
        }
    }

    /// One of the transfers; its violations are named below `path`.
    pub(super) fn parse(&self, path: &str, request: pb::CreateTransferRequest) -> Result<Parsed, Error> {
        let (linked, validate_only) = (request.linked, request.validate_only);
        let parsed =
            convert::transfer::create_transfer(self.actor.scope, request, rand::random(), &terms(&self.bank));
        let (action, named) = match (parsed, validate_only) {
            (Ok(parsed), false) => parsed,
            (Ok(_), true) => return Err(Error::Invalid(vec![validates_alone(path)])),
            (Err(Error::Invalid(mut violations)), _) => {
                for violation in &mut violations {
                    violation.field.insert_str(0, path);
                }
                violations.extend(validate_only.then(|| validates_alone(path)));
                return Err(Error::Invalid(violations));
            }
            (Err(error), _) => return Err(error),
        };
        let command = Command {
            actor: self.actor.clone(),
            seed: Seed { nonce: rand::random(), salt: rand::random() },
            witness: Some(Witness { id: Uuid::now_v7(), call: self.call.clone() }),
            linked,
            validate_only: false,
            action,
        };
        Ok((command, named))
    }
}

fn validates_alone(path: &str) -> Violation {
    Violation::new(format!("{path}validate_only"), "must not be set for one of several")
}

impl Rpc {
    /// What became of transfers, in order. Those that were made before are read back together.
    pub(super) async fn results(
        &self,
        judged: Vec<(Verdict, convert::Names)>,
    ) -> Result<Vec<pb::TransferResult>, Error> {
        let recorded = |(verdict, _): &(Verdict, convert::Names)| verdict.recorded();
        let rows: Vec<Uuid> = judged.iter().filter_map(recorded).collect();
        let recorded = self.store.transfers_of_rows(&rows).await?;
        let answer = |(verdict, named): (Verdict, convert::Names)| {
            let made = |row| recorded.get(&row).cloned().ok_or(Error::Corrupt("outcome"));
            convert::result::result(became(verdict, &named, made))
        };
        Ok(judged.into_iter().map(answer).collect())
    }
}

/// The transfer that a verdict says is made, by `made` if it was before.
pub(super) fn became(
    verdict: Verdict,
    named: &convert::Names,
    made: impl FnOnce(Uuid) -> Result<verdict::Transfer, Error>,
) -> Result<verdict::Transfer, Error> {
    match verdict {
        Verdict::Booked(transfer) => Ok(transfer),
        Verdict::Recorded(row) => made(row),
        Verdict::Refused(refusal) => Err(refused(refusal, named)),
        Verdict::BodyChanged(fields) => {
            Err(Error::BodyChanged { request_id: named.request_id.clone(), fields })
        }
        Verdict::NotAttempted => Err(Error::NotAttempted),
        Verdict::Opened(_)
        | Verdict::Set(_)
        | Verdict::WouldBecome(_)
        | Verdict::Closed(_)
        | Verdict::Expired
        | Verdict::AccountClosed
        | Verdict::AccountNotEmpty
        | Verdict::LimitBreached(_)
        | Verdict::Granted(_)
        | Verdict::NoAccount
        | Verdict::GrantExists(_)
        | Verdict::AccountExists(_)
        | Verdict::StaleRevision => Err(Error::Corrupt("verdict")),
    }
}
