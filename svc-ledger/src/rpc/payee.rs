//! Payees that a payer names by a token of svc-accounts' instead of an account id, which is nobody's business. The token is opened
//! before anything else is read, and the account stands in its place from there on: two tokens of one account, or a token and the
//! account's id, are the same body under the same key.
//!
//! A token that is over makes no transfer. It may come with a request that was made in time, though, whose answer got lost: so the
//! command is only validated then, which answers the outcome of its key if there is one, and judges nothing else.

use std::time::SystemTime;

use chassis::seal::Seal;
use prost::Message as _;
use proto::accounts::v1::Payee as Sealed;
use proto::ledger::v1 as pb;
use proto::ledger::v1::create_transfer_request::Credit;

use super::convert::Names;
use crate::domain::command::{Action, Command, Transfer};
use crate::domain::verdict::Verdict;
use crate::error::Error;

/// What payee tokens are sealed for, in svc-accounts as here.
pub const PURPOSE: &str = "ledger payee";

/// How the caller named who is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payee {
    /// In a way that hides nothing.
    Known,
    /// By a token.
    Hidden {
        /// Whether that is over.
        expired: bool,
    },
}

impl Payee {
    /// Puts the account in the place of the token of `request`, if it has one.
    ///
    /// # Errors
    /// When the token is none of svc-accounts', or there is no seal to open it.
    pub(super) fn of(
        request: &mut pb::CreateTransferRequest,
        seal: Option<&Seal>,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let Some(Credit::PayeeToken(token)) = &request.credit else { return Ok(Self::Known) };
        let seal = seal.ok_or(Error::PayeeToken { expired: false })?;
        let opened = seal.open(token, now).map_err(|_| Error::PayeeToken { expired: false })?;
        let sealed = Sealed::decode(opened.content.as_slice()).map_err(|_| Error::Corrupt("payee token"))?;
        request.credit = Some(Credit::CreditAccountId(sealed.account_id));
        Ok(Self::Hidden { expired: opened.expired })
    }

    /// The command of a transfer to this payee; `named` is what its errors say of it.
    pub(super) fn command(self, command: Command, named: &mut Names) -> Command {
        match self {
            Self::Known => command,
            Self::Hidden { expired } => {
                named.credit = String::new();
                let action = match command.action {
                    Action::Transfer(request, transfer) => {
                        Action::Transfer(request, Transfer { hidden: true, ..transfer })
                    }
                    other @ (Action::Open(_)
                    | Action::SetState(_)
                    | Action::SetLimits(_)
                    | Action::Grant(_)
                    | Action::Resolve(..)
                    | Action::Reverse(..)
                    | Action::Expire(_)
                    | Action::ClosePeriod(..)) => other,
                };
                Command { validate_only: command.validate_only || expired, action, ..command }
            }
        }
    }

    /// What the verdict on that command means.
    ///
    /// # Errors
    /// When the token was over and the command had no outcome before. What was refused is refused either way.
    pub(super) fn verdict(self, verdict: Verdict) -> Result<Verdict, Error> {
        // What was only validated has no id.
        let only_validated = matches!(&verdict, Verdict::Booked(transfer) if transfer.id.is_nil());
        if only_validated && self == (Self::Hidden { expired: true }) {
            return Err(Error::PayeeToken { expired: true });
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn seal(key: &str) -> Seal {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        Seal::load(file.path(), PURPOSE).unwrap()
    }

    fn request(credit: Credit) -> pb::CreateTransferRequest {
        pb::CreateTransferRequest { credit: Some(credit), ..Default::default() }
    }

    #[test]
    fn a_token_stands_for_its_account_and_an_id_for_itself() {
        let (seal, now) = (seal(&chassis::seal::generate().unwrap()), UNIX_EPOCH + Duration::from_secs(100));
        let sealed = Sealed { account_id: "an account".into(), currency_code: "EUR".into() }.encode_to_vec();
        for (end, expired) in [(101, false), (100, true)] {
            let token = seal.seal(&sealed, UNIX_EPOCH + Duration::from_secs(end)).unwrap();
            let mut named = request(Credit::PayeeToken(token));
            assert_eq!(Payee::of(&mut named, Some(&seal), now).unwrap(), Payee::Hidden { expired });
            assert_eq!(named.credit, Some(Credit::CreditAccountId("an account".into())));
        }
        let mut named = request(Credit::CreditAccountId("id".into()));
        assert_eq!(Payee::of(&mut named, None, now).unwrap(), Payee::Known);
        assert_eq!(named.credit, Some(Credit::CreditAccountId("id".into())));
    }

    #[test]
    fn what_nobody_here_has_sealed_is_no_token() {
        let now = UNIX_EPOCH;
        let (ours, theirs) = (chassis::seal::generate().unwrap(), chassis::seal::generate().unwrap());
        let stranger = seal(&theirs).seal(b"", now + Duration::from_secs(9)).unwrap();
        for token in ["", "made up", &stranger] {
            let mut named = request(Credit::PayeeToken(token.to_owned()));
            for seal in [Some(&seal(&ours)), None] {
                let error = Payee::of(&mut named, seal, now).unwrap_err();
                assert!(matches!(error, Error::PayeeToken { expired: false }), "{token}: {error:?}");
            }
        }
    }
}
