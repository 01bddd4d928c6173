//! Accounts that are frozen, let go, closed, renamed or given another limit. What the ledger must know is answered once it does.

use chassis::Call;
use proto::accounts::v1 as pb;

use super::access::{Access, Reach};
use super::{Rpc, answer_by, audit, convert};
use crate::clock;
use crate::domain::change::Unfit;
use crate::domain::{Account, AccountId, AccountState, StateRevision, UnixMillis};
use crate::error::Error;
use crate::store::Telling;

/// How often a change that met another write of the account begins anew.
const TRIES: usize = 4;

impl Rpc {
    pub(super) async fn freeze(
        &self,
        call: &Call,
        request: &pb::FreezeAccountRequest,
    ) -> Result<pb::Account, Error> {
        let (id, wanted) = convert::freeze_account(request)?;
        Access::of(&call.caller).write_any()?;
        self.told(call, id, (audit::FREEZE_ACCOUNT, Telling::Now), wanted, |_| Ok(())).await
    }

    pub(super) async fn unfreeze(
        &self,
        call: &Call,
        request: &pb::UnfreezeAccountRequest,
    ) -> Result<pb::Account, Error> {
        let id = convert::account_id("account_id", &request.account_id)?;
        Access::of(&call.caller).write_any()?;
        self.told(call, id, (audit::UNFREEZE_ACCOUNT, Telling::Now), AccountState::Active, |_| Ok(())).await
    }

    pub(super) async fn close(
        &self,
        call: &Call,
        request: &pb::CloseAccountRequest,
    ) -> Result<pb::Account, Error> {
        let id = convert::account_id("account_id", &request.account_id)?;
        let reach = self.writer_of(call, id).await?;
        let may_close = |account: &Account| match (reach, account.state) {
            // A freeze that the ledger has not confirmed is one all the same.
            (Reach::Own(_), AccountState::DebitFrozen | AccountState::Frozen) => Err(Error::AccountFrozen),
            (Reach::Own(_), AccountState::Active) => match account.wanted_state() {
                AccountState::DebitFrozen | AccountState::Frozen => Err(Error::AccountFrozen),
                AccountState::Opening | AccountState::Active | AccountState::Closed => Ok(()),
            },
            (Reach::Own(_), AccountState::Opening | AccountState::Closed) | (Reach::Any, _) => Ok(()),
        };
        let closed = self
            .told(call, id, (audit::CLOSE_ACCOUNT, Telling::Confirmed), AccountState::Closed, may_close)
            .await;
        closed.map_err(|error| reach.hide(error))
    }

    pub(super) async fn update(
        &self,
        call: &Call,
        request: &pb::UpdateAccountRequest,
    ) -> Result<pb::Account, Error> {
        let wanted = convert::update_account(request, self.overdraft_limit_max)?;
        let reach = self.writer_of(call, wanted.account_id).await?;
        if let (Some(_), Reach::Own(_)) = (wanted.overdraft_limit_minor_units, reach) {
            return Err(Error::OverdraftNotPermitted);
        }
        let change = |account: &Account, now: UnixMillis| {
            if wanted.etag.as_ref().is_some_and(|etag| *etag != account.etag()) {
                return Err(Error::EtagMismatch);
            }
            match wanted.overdraft_limit_minor_units {
                Some(limit) => Ok(account.limited(limit, now)?),
                None => Ok(wanted.display_name.clone().and_then(|name| account.renamed(name, now))),
            }
        };
        let telling = match wanted.overdraft_limit_minor_units {
            Some(_) => Telling::Confirmed,
            None => Telling::Now,
        };
        let changed = self.changed(call, wanted.account_id, (audit::UPDATE_ACCOUNT, telling), change).await;
        let account = changed.map_err(|error| reach.hide(error))?;
        let Some(limit) = wanted.overdraft_limit_minor_units else { return Ok(convert::account(&account)) };
        let intent = account.changes.limit.map(|intent| intent.revision);
        let settled = |account: &Account| {
            (
                account.overdraft_limit_minor_units == limit,
                account.changes.limit.map(|intent| intent.wanted == limit),
            )
        };
        self.settled(call, account, intent, settled).await
    }

    /// Tells an account to become something, and waits for the ledger.
    async fn told(
        &self,
        call: &Call,
        id: AccountId,
        rpc: (&'static str, Telling),
        wanted: AccountState,
        may: impl Fn(&Account) -> Result<(), Error>,
    ) -> Result<pb::Account, Error> {
        let change = |account: &Account, now: UnixMillis| {
            may(account)?;
            account.told(wanted, now).map_err(|unfit: Unfit| unfit.into())
        };
        let account = self.changed(call, id, rpc, change).await?;
        let intent = account.changes.state.map(|intent| intent.revision);
        let settled = |account: &Account| {
            (account.state == wanted, account.changes.state.map(|intent| intent.wanted == wanted))
        };
        self.settled(call, account, intent, settled).await
    }

    /// Writes what `change` makes of the account, if that is anything, with its event for when that is to be told. Answers the account as it then is.
    async fn changed(
        &self,
        call: &Call,
        id: AccountId,
        (rpc, telling): (&'static str, Telling),
        change: impl Fn(&Account, UnixMillis) -> Result<Option<Account>, Error>,
    ) -> Result<Account, Error> {
        let event = audit::done(call, rpc, format!("accounts/{id}"));
        for _ in 0..TRIES {
            let account = self.store.account(id).await?.ok_or(Error::AccountNotFound(id))?;
            let Some(next) = change(&account, clock::now())? else { return Ok(account) };
            if self.store.change_account(&account, &next, &event, telling).await? {
                self.cache.invalidate(id).await;
                return Ok(next);
            }
        }
        Err(Error::Contended)
    }

    /// Waits until the ledger has said what becomes of the wish under `intent`; without one there is nothing to wait for. `settled`
    /// says whether the account is as wished, and whether what it is still to become is that.
    async fn settled(
        &self,
        call: &Call,
        account: Account,
        intent: Option<StateRevision>,
        settled: impl Fn(&Account) -> (bool, Option<bool>),
    ) -> Result<pb::Account, Error> {
        let Some(intent) = intent else { return Ok(convert::account(&account)) };
        let id = account.id;
        // What the driver does not get done is on the list, and is read here as far as it came.
        let driven = self.changings.drive(id, answer_by(call.deadline.instant())).await;
        let account = match driven {
            Some(account) => account,
            None => self.store.account(id).await?.ok_or(Error::AccountNotFound(id))?,
        };
        match settled(&account) {
            (true, None | Some(true)) => Ok(convert::account(&account)),
            (false, Some(true)) => Err(Error::ChangeUnconfirmed),
            // Refused, or another wish took the place of this one.
            (false, None | Some(false)) | (true, Some(false)) => {
                Err(account.refused_since(intent).map_or(Error::Contended, Error::from))
            }
        }
    }

    /// How far the caller may write to an account, if at all.
    async fn writer_of(&self, call: &Call, id: AccountId) -> Result<Reach, Error> {
        let access = Access::of(&call.caller);
        if access.write_any().is_ok() {
            return Ok(Reach::Any);
        }
        let holder = access.as_holder()?;
        self.demand_holder(id, holder).await?;
        Ok(Reach::Own(holder))
    }
}
