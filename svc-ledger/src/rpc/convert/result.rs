//! What became of one transfer of several: the transfer, or the error that a call for it alone would have answered. The only place
//! where an error becomes a message and not a status.

use chassis::error::{Failure as _, Kind};
use chassis::metrics::code_name;
use proto::ledger::v1 as pb;
use proto::ledger::v1::transfer_result::Result as Became;

use super::transfer;
use crate::domain::verdict;
use crate::error::Error;

/// The result of one transfer.
pub(in crate::rpc) fn result(became: Result<verdict::Transfer, Error>) -> pb::TransferResult {
    let became = match became {
        Ok(made) => Became::Transfer(transfer(&made)),
        Err(error) => Became::Error(failed(&error)),
    };
    pb::TransferResult { result: Some(became) }
}

fn failed(error: &Error) -> pb::TransferError {
    let metadata = error.metadata().into_iter().map(|(key, value)| (key.to_owned(), value));
    pb::TransferError {
        status: code_name(error.kind().code()).to_owned(),
        reason: error.reason().to_owned(),
        message: error.client_message(),
        outcome: outcome(error).into(),
        // What makes a request unfit stands in the metadata by its field: a result has no further details.
        metadata: metadata
            .chain(
                error
                    .violations()
                    .into_iter()
                    .filter(|_| error.kind() == Kind::Invalid)
                    .map(|violation| (violation.field, violation.description)),
            )
            .collect(),
    }
}

/// Whether it was done. What says nothing of it was never judged for its own fault, or else it cannot be said.
fn outcome(error: &Error) -> pb::Outcome {
    if let Some(said) = error.outcome() {
        let known = [("refused", pb::Outcome::Refused), ("not_done", pb::Outcome::NotDone)];
        return known
            .iter()
            .find(|(word, _)| *word == said)
            .map_or(pb::Outcome::Unknown, |(_, known)| *known);
    }
    match error.kind() {
        Kind::Invalid
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::NotFound
        | Kind::Exists
        | Kind::Precondition
        | Kind::Conflict => pb::Outcome::Refused,
        Kind::Exhausted => pb::Outcome::NotDone,
        Kind::Unavailable | Kind::Timeout | Kind::Internal => pb::Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use chassis::error::Violation;

    use super::*;
    use crate::domain::verdict::Refusal;

    #[test]
    fn an_error_says_as_a_result_what_it_says_as_a_status() {
        let refused =
            || Error::Refused { refusal: Refusal::InsufficientFunds, name: "an account".to_owned() };
        let invalid = || Error::Invalid(vec![Violation::new("amount.minor_units", "must be positive")]);
        let cases = [
            (
                refused(),
                ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS", pb::Outcome::Refused),
                vec![("outcome", "refused"), ("field", "debit_account_id")],
            ),
            (
                invalid(),
                ("INVALID_ARGUMENT", "INVALID_REQUEST", pb::Outcome::Refused),
                vec![("amount.minor_units", "must be positive")],
            ),
            (
                Error::NotAttempted,
                ("FAILED_PRECONDITION", "NOT_ATTEMPTED", pb::Outcome::NotDone),
                vec![("outcome", "not_done")],
            ),
            (
                Error::OutcomeUnknown,
                ("UNAVAILABLE", "OUTCOME_UNKNOWN", pb::Outcome::Unknown),
                vec![("outcome", "unknown")],
            ),
            (Error::Corrupt("secret"), ("INTERNAL", "INTERNAL", pb::Outcome::Unknown), vec![]),
        ];
        for (error, (status, reason, outcome), metadata) in cases {
            let failed = failed(&error);
            assert_eq!((failed.status.as_str(), failed.reason.as_str()), (status, reason));
            assert_eq!(failed.outcome(), outcome, "{reason}");
            assert_eq!(failed.message, error.client_message());
            let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            for pair in metadata.collect::<HashMap<_, _>>() {
                assert_eq!(failed.metadata.get(&pair.0), Some(&pair.1), "{reason}");
            }
        }
    }
}
