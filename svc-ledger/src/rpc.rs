//! The RPCs: decode, ask the store, encode. Here alone ids, salts and the caller's identity enter a command. What a message
//! must look like is in [`convert`]; what the rules are, in the domain.

pub mod audit;
mod batch;
mod convert;
pub mod heads;
mod import;
mod journal;
pub mod payee;
mod proof;
mod several;
mod watch;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use chassis::call::{Call, Principal};
use chassis::seal::Seal;
use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_server::LedgerService;
use tonic::{Request, Response, Status};

use crate::config;
use crate::domain::command::{Action, Actor, Command, Seed};
use crate::domain::currency::Currency;
use crate::domain::request::Scope;
use crate::domain::verdict::{self, Refusal, Verdict};
use crate::error::{Error, Resource};
use crate::store::Store;
use crate::store::read::{Named, Viewer};

/// Who may open accounts.
const ACCOUNTS: &str = "svc-accounts";
/// Who may read any account for itself, to make statements.
const DOCS: &str = "svc-docs";

/// The first pause of a reader that waits for a sequence number, which usually is there a commit later; it doubles up to the
/// longest, so that waiting for one that never comes costs the store little.
const SEQ_PAUSE_FIRST: Duration = Duration::from_millis(20);
const SEQ_PAUSE_LONGEST: Duration = Duration::from_millis(500);
/// What is left of the budget to say that the sequence number was not reached.
const SEQ_RESERVE: Duration = Duration::from_millis(100);

/// The service's RPCs; clones share the store.
#[derive(Clone)]
pub struct Rpc {
    store: Store,
    offered: Arc<[Currency]>,
    payees: Option<Seal>,
    bank: Arc<config::Ledger>,
    verification: proof::Verification,
    watchers: watch::Watchers,
}

impl Rpc {
    /// The RPCs over a store, opening accounts in the currencies offered.
    #[must_use]
    pub fn new(store: Store, offered: Vec<Currency>) -> Self {
        let verification = proof::Verification::new(store.source());
        Self {
            store,
            offered: offered.into(),
            payees: None,
            bank: Arc::default(),
            verification,
            watchers: watch::Watchers::new(config::Ledger::default().watchers_max),
        }
    }

    /// The same, with the bank's own IBANs and its rail partners. Without them there are none.
    #[must_use]
    pub fn of_bank(self, bank: config::Ledger) -> Self {
        Self { watchers: watch::Watchers::new(bank.watchers_max), bank: Arc::new(bank), ..self }
    }

    /// The same, taking payee tokens that this seal opens. Without it there are none.
    #[must_use]
    pub fn paying(self, payees: Seal) -> Self {
        Self { payees: Some(payees), ..self }
    }

    /// Has the command of a call judged, as long as its caller waits.
    async fn submit(&self, call: &Call, command: Command) -> Result<Verdict, Error> {
        let mut verdicts = self.store.submit_by(command.into(), call.deadline.instant()).await?;
        verdicts.pop().ok_or(Error::Corrupt("verdict"))
    }

    /// Who commands. A partner never is staff, whatever the token says that it was given: it acts for a customer or for nobody.
    fn actor(&self, call: &Call) -> Actor {
        let (staff, partner) = match &call.caller.principal {
            Principal::Subject(subject) => (subject.scopes.contains("staff.write"), None),
            Principal::Partner(partner) => (false, Some(partner.id.clone())),
            Principal::Service | Principal::Anonymous => (false, None),
        };
        let rail = self.is_rail(call);
        let customer = call.caller.customer_id().map(str::to_owned);
        Actor { scope: Scope::of(&call.caller.idempotency_scope()), staff, customer, partner, rail }
    }

    /// Whether the caller is a partner that carries out payments to other banks, and speaks for itself.
    fn is_rail(&self, call: &Call) -> bool {
        let Principal::Partner(partner) = &call.caller.principal else { return false };
        call.caller.customer_id().is_none() && self.bank.rail_partners.contains(&partner.id)
    }

    /// Who reads.
    fn viewer(&self, call: &Call) -> Viewer {
        match &call.caller.principal {
            Principal::Service if call.caller.acting_service() == Some(DOCS) => Viewer::Service,
            Principal::Subject(subject) if subject.scopes.contains("staff.read") => Viewer::Staff,
            Principal::Subject(subject) => {
                subject.customer_id.clone().map_or(Viewer::Nobody, Viewer::Customer)
            }
            // Without a customer's token there is nobody whose consent it could be.
            Principal::Partner(partner) => match call.caller.customer_id() {
                Some(customer) => {
                    Viewer::Partner { partner: partner.id.clone(), customer: customer.to_owned() }
                }
                None if self.is_rail(call) => Viewer::Rail,
                None => Viewer::Nobody,
            },
            Principal::Service | Principal::Anonymous => Viewer::Nobody,
        }
    }

    /// Waits until the journal has reached `min_seq`. A writer's own reads find it at once; the wait is for readers that were
    /// told a sequence number by somebody faster than the commit's visibility.
    async fn reach(&self, call: &Call, min_seq: i64) -> Result<(), Error> {
        let give_up = call.deadline.remaining().saturating_sub(SEQ_RESERVE);
        let mut seq = 0;
        let reached = tokio::time::timeout(give_up, async {
            let mut pause = SEQ_PAUSE_FIRST;
            loop {
                seq = self.store.last_seq().await?;
                if seq >= min_seq {
                    return Ok(());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(SEQ_PAUSE_LONGEST);
            }
        });
        reached.await.unwrap_or(Err(Error::NotReached { min_seq, seq }))
    }
}

/// A refusal as the caller reads it: what it is about is named as the caller named it.
fn refused(refusal: Refusal, named: &convert::Names) -> Error {
    let name = match refusal {
        Refusal::NoCreditAccount
        | Refusal::CreditCurrency
        | Refusal::CreditNotOpen
        | Refusal::CreditVersion
        | Refusal::CreditCondition
        | Refusal::Ceiling => &named.credit,
        Refusal::NoTransfer
        | Refusal::NotPending
        | Refusal::Expired
        | Refusal::ExceedsHold
        | Refusal::NotReversible
        | Refusal::AlreadyReversed
        | Refusal::ExceedsTransfer => &named.transfer,
        Refusal::NotPermitted
        | Refusal::NoDebitAccount
        | Refusal::DebitCurrency
        | Refusal::DebitNotOpen
        | Refusal::InsufficientFunds
        | Refusal::BalanceOverflow
        | Refusal::FourEyes
        | Refusal::PerTransferCap
        | Refusal::TotalCap
        | Refusal::PeriodClosed
        | Refusal::PeriodNotOver
        | Refusal::DebitVersion
        | Refusal::DebitCondition
        | Refusal::ChainFailed
        | Refusal::ExchangeMismatch => &named.debit,
    };
    Error::Refused { refusal, name: name.clone() }
}

/// What transfers are parsed by.
fn terms(bank: &config::Ledger) -> convert::transfer::Terms<'_> {
    convert::transfer::Terms { own_ibans: &bank.own_ibans, today: chrono::Utc::now().date_naive() }
}

/// The command of a call to `method`.
fn command(call: &Call, method: &str, actor: Actor, action: Action) -> Command {
    let witness = Some(convert::audit::witness(call, method));
    let seed = Seed { nonce: rand::random(), salt: rand::random() };
    Command { actor, seed, witness, linked: false, validate_only: false, action }
}

/// Refuses all but svc-accounts, for itself or for somebody. The edge lets nobody else call such a method on the mesh listener;
/// the other listeners do not know it.
fn only_accounts(call: &Call) -> Result<(), Error> {
    if call.caller.acting_service() == Some(ACCOUNTS) { Ok(()) } else { Err(Error::NotPermitted) }
}

#[tonic::async_trait]
impl LedgerService for Rpc {
    async fn create_ledger_account(
        &self,
        request: Request<pb::CreateLedgerAccountRequest>,
    ) -> Result<Response<pb::LedgerAccount>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let open = convert::open(&request, &self.offered)?;
        only_accounts(&call)?;
        let command =
            command(&call, "LedgerService/CreateLedgerAccount", self.actor(&call), Action::Open(open));
        match self.submit(&call, command).await? {
            Verdict::Opened(account) => Ok(Response::new(convert::account(&account))),
            Verdict::AccountExists(fields) => {
                Err(Error::AccountExists { account_id: request.account_id, fields }.into())
            }
            Verdict::StaleRevision => Err(Error::StaleRevision { field: "state_revision" }.into()),
            Verdict::Granted(_)
            | Verdict::Set(_)
            | Verdict::WouldBecome(_)
            | Verdict::Closed(_)
            | Verdict::Expired
            | Verdict::NotAttempted
            | Verdict::AccountClosed
            | Verdict::AccountNotEmpty
            | Verdict::LimitBreached(_)
            | Verdict::NoAccount
            | Verdict::GrantExists(_)
            | Verdict::Booked(_)
            | Verdict::Recorded(_)
            | Verdict::Refused(_)
            | Verdict::BodyChanged(_) => Err(Error::Corrupt("verdict").into()),
        }
    }

    async fn set_grant(&self, request: Request<pb::SetGrantRequest>) -> Result<Response<pb::Grant>, Status> {
        let call = Call::of(&request)?;
        let wanted = request.into_inner().grant.unwrap_or_default();
        let grant = convert::set_grant(&wanted)?;
        only_accounts(&call)?;
        let command = command(&call, "LedgerService/SetGrant", self.actor(&call), Action::Grant(grant));
        match self.submit(&call, command).await? {
            Verdict::Granted(grant) => Ok(Response::new(convert::grant(wanted.account_id, &grant))),
            Verdict::NoAccount => {
                Err(Error::NotFound { resource: Resource::Account, name: wanted.account_id }.into())
            }
            Verdict::GrantExists(fields) => {
                Err(Error::GrantExists { consent_id: wanted.consent_id, fields }.into())
            }
            Verdict::StaleRevision => Err(Error::StaleRevision { field: "grant.revision" }.into()),
            Verdict::Opened(_)
            | Verdict::Set(_)
            | Verdict::WouldBecome(_)
            | Verdict::Closed(_)
            | Verdict::Expired
            | Verdict::NotAttempted
            | Verdict::AccountClosed
            | Verdict::AccountNotEmpty
            | Verdict::LimitBreached(_)
            | Verdict::AccountExists(_)
            | Verdict::Booked(_)
            | Verdict::Recorded(_)
            | Verdict::Refused(_)
            | Verdict::BodyChanged(_) => Err(Error::Corrupt("verdict").into()),
        }
    }

    async fn create_transfer(
        &self,
        request: Request<pb::CreateTransferRequest>,
    ) -> Result<Response<pb::Transfer>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.transfer(&call, request.into_inner()).await?))
    }

    async fn post_transfer(
        &self,
        request: Request<pb::PostTransferRequest>,
    ) -> Result<Response<pb::Transfer>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.post(&call, request.into_inner()).await?))
    }

    async fn void_transfer(
        &self,
        request: Request<pb::VoidTransferRequest>,
    ) -> Result<Response<pb::Transfer>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.void(&call, request.into_inner()).await?))
    }

    async fn increment_transfer(
        &self,
        request: Request<pb::IncrementTransferRequest>,
    ) -> Result<Response<pb::Transfer>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.increment(&call, request.into_inner()).await?))
    }

    async fn reverse_transfer(
        &self,
        request: Request<pb::ReverseTransferRequest>,
    ) -> Result<Response<pb::Transfer>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.reverse(&call, request.into_inner()).await?))
    }

    async fn batch_create_transfers(
        &self,
        request: Request<pb::BatchCreateTransfersRequest>,
    ) -> Result<Response<pb::BatchCreateTransfersResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.create_batch(&call, request.into_inner()).await?))
    }

    type ImportTransfersStream = journal::Stream<pb::ImportTransfersResponse>;

    async fn import_transfers(
        &self,
        request: Request<tonic::Streaming<pb::ImportTransfersRequest>>,
    ) -> Result<Response<Self::ImportTransfersStream>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.import(&call, request.into_inner())?))
    }

    async fn set_ledger_account_state(
        &self,
        request: Request<pb::SetLedgerAccountStateRequest>,
    ) -> Result<Response<pb::LedgerAccount>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.set_state(&call, request.into_inner()).await?))
    }

    async fn set_ledger_account_limits(
        &self,
        request: Request<pb::SetLedgerAccountLimitsRequest>,
    ) -> Result<Response<pb::LedgerAccount>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.set_limits(&call, request.into_inner()).await?))
    }

    type WatchEntriesStream = journal::Stream<pb::WatchEntriesResponse>;

    async fn watch_entries(
        &self,
        request: Request<pb::WatchEntriesRequest>,
    ) -> Result<Response<Self::WatchEntriesStream>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.watched_entries(&call, request.get_ref()).await?))
    }

    async fn get_transfer(
        &self,
        request: Request<pb::GetTransferRequest>,
    ) -> Result<Response<pb::Transfer>, Status> {
        let call = Call::of(&request)?;
        let id = convert::transfer_id(&request.get_ref().transfer_id)?;
        let transfer = self.store.transfer(&self.viewer(&call), id).await?;
        Ok(Response::new(convert::transfer(&transfer)))
    }

    async fn list_transfers(
        &self,
        request: Request<pb::ListTransfersRequest>,
    ) -> Result<Response<pb::ListTransfersResponse>, Status> {
        let call = Call::of(&request)?;
        let list = convert::list::list_transfers(request.get_ref())?;
        let viewer = self.viewer(&call);
        if list.account.is_none() && !matches!(viewer, Viewer::Customer(_) | Viewer::Partner { .. }) {
            return Err(if matches!(viewer, Viewer::Staff | Viewer::Rail) {
                convert::account_required()
            } else {
                Error::NotPermitted
            }
            .into());
        }
        let (before, limit) = (list.page.after(), convert::limit(&list.page));
        let account = list.account.as_ref();
        let mut listed = self.store.transfers_like(&viewer, account, before, limit, &list.filter).await?;
        let next_page_token =
            convert::list::cut(&list.page, &mut listed, |transfer: &verdict::Transfer| transfer.id);
        let transfers = listed.found.iter().map(convert::transfer).collect();
        Ok(Response::new(pb::ListTransfersResponse { transfers, next_page_token }))
    }

    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::Balance>, Status> {
        let call = Call::of(&request)?;
        let (account, as_of): (Named, Option<i64>) = convert::get_balance(request.get_ref())?;
        let version = request.get_ref().version;
        let viewer = self.viewer(&call);
        let read = async || match as_of {
            Some(as_of) => self.store.balance_as_of(&viewer, &account, as_of).await,
            None if version > 0 => self.store.balance_at_version(&viewer, &account, version).await,
            None => self.store.balance(&viewer, &account).await,
        };
        // Read before any wait: who may not see the account is told so, and cannot keep the store busy until a deadline.
        let mut balance = read().await?;
        if version == 0 && balance.seq < request.get_ref().min_seq {
            self.reach(&call, request.get_ref().min_seq).await?;
            balance = read().await?;
        }
        Ok(Response::new(convert::balance(account.id, &balance)))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let call = Call::of(&request)?;
        let list = convert::list::list_entries(request.get_ref())?;
        let min_seq = request.get_ref().min_seq;
        let viewer = self.viewer(&call);
        let read =
            async || self.store.entries_like(&viewer, &list.account, list.window(), &list.filter).await;
        // As of a balance: the right to read comes before any wait.
        let (mut heading, mut listed) = read().await?;
        if min_seq > 0 && self.store.last_seq().await? < min_seq {
            self.reach(&call, min_seq).await?;
            (heading, listed) = read().await?;
        }
        let next_page_token = convert::list::cut(&list.page, &mut listed, |entry| entry.row);
        let entries =
            listed.found.iter().map(|entry| convert::entry(list.account.id, heading, entry)).collect();
        Ok(Response::new(pb::ListEntriesResponse { entries, next_page_token }))
    }
}
