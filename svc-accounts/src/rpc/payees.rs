//! Who is meant by an IBAN and a name: verification of payee. Anyone who pays may ask, so that an answer says no more than the
//! question earns: nothing of accounts that are not the one that was meant, and never an account's id.

use std::time::{Duration, UNIX_EPOCH};

use chassis::seal::Seal;
use prost::Message as _;
use proto::accounts::v1 as pb;

use super::{Rpc, convert};
use crate::clock;
use crate::domain::payee::Match;
use crate::domain::{Account, AccountId, AccountState, CustomerId, UnixMillis};
use crate::error::Error;
use crate::store::Holding;
use crate::timestamp;

/// Makes tokens of payees. Clones share the keys.
#[derive(Debug, Clone)]
pub struct Payees {
    /// What svc-ledger opens.
    pub seal: Seal,
    /// How long one is good.
    pub token_s: u32,
}

impl Rpc {
    pub(super) async fn look_up(
        &self,
        request: &pb::LookupAccountRequest,
    ) -> Result<pb::LookupAccountResponse, Error> {
        let (iban, name) = convert::lookup_account(request)?;
        // Whose an IBAN is stands in it; whether it is anybody's is what an answer must not say.
        if !self.ibans.contains(&iban) {
            return Ok(answer(pb::PayeeMatch::OtherBank));
        }
        let nobody = (AccountId::new(clock::new_id()), CustomerId::new(clock::new_id()));
        let holding = self.store.holding(&iban, nobody).await?;
        let Some(Holding { account, names }) = holding.filter(|holding| is_payable(&holding.account)) else {
            return Ok(answer(pb::PayeeMatch::NoMatch));
        };
        let (payee_match, payee_name) = match name.compare(&names) {
            Match::Match => (pb::PayeeMatch::Match, String::new()),
            Match::Close(right) => (pb::PayeeMatch::CloseMatch, right),
            Match::No => return Ok(answer(pb::PayeeMatch::NoMatch)),
        };
        let (payee_token, expire_time) = self.payees.token(&account)?;
        Ok(pb::LookupAccountResponse {
            payee_match: payee_match.into(),
            payee_name,
            payee_token,
            currency_code: account.currency.as_str().to_owned(),
            expire_time: Some(timestamp::of(expire_time)),
        })
    }
}

impl Payees {
    /// A token of the account's, and when it is over.
    fn token(&self, account: &Account) -> Result<(String, UnixMillis), Error> {
        let payee = pb::Payee {
            account_id: account.id.to_string(),
            currency_code: account.currency.as_str().to_owned(),
        };
        // Tokens count in whole seconds.
        let seconds = clock::now().get() / 1_000 + i64::from(self.token_s);
        let expires_at = UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        let token = self.seal.seal(&payee.encode_to_vec(), expires_at).map_err(Error::NoToken)?;
        Ok((token, UnixMillis::new(seconds * 1_000)))
    }
}

/// Whether there is anything to pay to. That an account is frozen is between its holder and the bank: the ledger says it to whoever
/// pays there all the same.
const fn is_payable(account: &Account) -> bool {
    match account.state {
        AccountState::Active | AccountState::DebitFrozen | AccountState::Frozen => true,
        AccountState::Opening | AccountState::Closed => false,
    }
}

/// An answer that says nothing else.
fn answer(payee_match: pb::PayeeMatch) -> pb::LookupAccountResponse {
    pb::LookupAccountResponse { payee_match: payee_match.into(), ..pb::LookupAccountResponse::default() }
}
