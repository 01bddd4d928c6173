//! Changes of accounts and look-ups of payees between the contract and the domain.

use proto::accounts::v1 as pb;

use super::{Fields, overdraft_limit};
use crate::domain::{Account, AccountId, AccountName, AccountState, Iban, PayeeName};
use crate::error::Error;

/// What UpdateAccount wants.
#[derive(Debug)]
pub struct UpdateAccount {
    /// The account.
    pub account_id: AccountId,
    /// Another name.
    pub display_name: Option<AccountName>,
    /// Another limit, zero or more.
    pub overdraft_limit_minor_units: Option<i64>,
    /// The account as the caller has read it.
    pub etag: Option<String>,
}

/// Reads UpdateAccount. `overdraft_max` is the largest overdraft.
pub fn update_account(
    request: &pb::UpdateAccountRequest,
    overdraft_max: i64,
) -> Result<UpdateAccount, Error> {
    let mut fields = Fields::default();
    let account_id = fields.take("account_id", AccountId::parse(&request.account_id));
    let display_name = request.display_name.as_deref().map(AccountName::parse).transpose();
    let display_name = fields.take("display_name", display_name);
    let limit = request.overdraft_limit_minor_units.map(|limit| overdraft_limit(limit, overdraft_max));
    let alone = match (&request.display_name, limit) {
        // The one is in force at once, and the other may be refused by the ledger: half of a change is none.
        (Some(_), Some(Ok(_))) => Err("must be changed without another field".to_owned()),
        (_, limit) => limit.transpose(),
    };
    let limit = fields.take("overdraft_limit_minor_units", alone);
    match (account_id, display_name, limit) {
        (Some(account_id), Some(display_name), Some(overdraft_limit_minor_units)) => Ok(UpdateAccount {
            account_id,
            display_name,
            overdraft_limit_minor_units,
            etag: Some(request.etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty()),
        }),
        (_, _, _) => Err(fields.refused()),
    }
}

/// Reads FreezeAccount.
pub fn freeze_account(request: &pb::FreezeAccountRequest) -> Result<(AccountId, AccountState), Error> {
    let mut fields = Fields::default();
    let account_id = fields.take("account_id", AccountId::parse(&request.account_id));
    let state = pb::Freeze::try_from(request.freeze).map(|freeze| match freeze {
        pb::Freeze::Debits => AccountState::DebitFrozen,
        pb::Freeze::Unspecified | pb::Freeze::All => AccountState::Frozen,
    });
    let state = fields.take("freeze", state.map_err(|_| "must be one of the contract's"));
    account_id.zip(state).ok_or_else(|| fields.refused())
}

/// Reads LookupAccount.
pub fn lookup_account(request: &pb::LookupAccountRequest) -> Result<(Iban, PayeeName), Error> {
    let mut fields = Fields::default();
    // As it stands on paper: in groups of four.
    let electronic: String = request.iban.chars().filter(|letter| *letter != ' ').collect();
    let iban = fields.take("iban", Iban::parse(&electronic.to_ascii_uppercase()));
    let name = fields.take("name", PayeeName::parse(&request.name));
    iban.zip(name).ok_or_else(|| fields.refused())
}

/// How far an account is in its life, what it is to become included.
pub fn state(account: &Account) -> pb::AccountState {
    let wanted = account.changes.state.map(|intent| intent.wanted).filter(|wanted| *wanted != account.state);
    match wanted {
        Some(AccountState::DebitFrozen | AccountState::Frozen) => pb::AccountState::Freezing,
        Some(AccountState::Active) => pb::AccountState::Unfreezing,
        Some(AccountState::Closed) => pb::AccountState::Closing,
        Some(AccountState::Opening) | None => match account.state {
            AccountState::Opening => pb::AccountState::Opening,
            AccountState::Active => pb::AccountState::Active,
            AccountState::DebitFrozen => pb::AccountState::DebitFrozen,
            AccountState::Frozen => pb::AccountState::Frozen,
            AccountState::Closed => pb::AccountState::Closed,
        },
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::fields_of;
    use super::*;

    #[test]
    fn every_broken_field_of_a_change_is_named_at_once() {
        let wrong = pb::UpdateAccountRequest {
            account_id: "a".into(),
            display_name: Some("x".repeat(101)),
            overdraft_limit_minor_units: Some(-1),
            etag: String::new(),
        };
        let every = ["account_id", "display_name", "overdraft_limit_minor_units"];
        assert_eq!(fields_of(update_account(&wrong, 500).err()), every);
        let wrong = pb::FreezeAccountRequest { account_id: String::new(), freeze: 9 };
        assert_eq!(fields_of(freeze_account(&wrong).err()), ["account_id", "freeze"]);
        assert_eq!(fields_of(lookup_account(&pb::LookupAccountRequest::default()).err()), ["iban", "name"]);
    }

    #[test]
    fn what_is_absent_stays_as_it_is() {
        let id = Uuid::from_u128(1).to_string();
        let nothing = pb::UpdateAccountRequest { account_id: id.clone(), ..Default::default() };
        let nothing = update_account(&nothing, 500).expect("valid");
        assert!(nothing.display_name.is_none() && nothing.overdraft_limit_minor_units.is_none());
        assert_eq!(nothing.etag, None);
        let both = pb::UpdateAccountRequest {
            account_id: id.clone(),
            display_name: Some("Holidays".into()),
            overdraft_limit_minor_units: Some(1),
            ..Default::default()
        };
        assert_eq!(fields_of(update_account(&both, 500).err()), ["overdraft_limit_minor_units"]);
        let quoted = pb::UpdateAccountRequest { account_id: id, etag: "\"t\"".into(), ..Default::default() };
        assert_eq!(update_account(&quoted, 500).expect("valid").etag.as_deref(), Some("t"));
    }

    #[test]
    fn an_iban_may_be_written_as_on_paper() {
        for iban in ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89 3704 0044 0532 0130 00"] {
            let request = pb::LookupAccountRequest { iban: iban.into(), name: "Ada".into() };
            let (read, _) = lookup_account(&request).expect("valid");
            assert_eq!(read.as_str(), "DE89370400440532013000");
        }
    }
}
