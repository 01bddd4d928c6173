//! What svc-docs sees of the ledger and of svc-accounts, as they answer through the edge: balances, pages of entries, and who
//! holds an account. It can also be made to contradict itself, which the real ledger does not do on demand.
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use chrono::{TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proto::accounts::v1 as accounts;
use proto::docs::v1 as docs;
use proto::ledger::v1::{Balance, Entry, GetBalanceRequest, ListEntriesRequest, ListEntriesResponse, Money};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

const ACCOUNT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[derive(Clone)]
pub struct Ledger {
    /// The first second of the period, which is a day long.
    start: i64,
    entries: Arc<Vec<Entry>>,
    closing: i64,
    refusal: Option<Code>,
    calls: Arc<AtomicU64>,
}

impl Ledger {
    pub fn with_entries(count: i64) -> Self {
        let start = (Utc::now() - TimeDelta::days(2)).timestamp();
        let mut balance = 1_000;
        let entry = |n: i64| {
            let amount = if n % 3 == 0 { -200 } else { 150 + n };
            balance += amount;
            Entry {
                account_id: ACCOUNT.into(),
                transfer_id: format!("t{n}"),
                amount: Some(eur(amount)),
                balance_after: Some(eur(balance)),
                version: n + 1,
                seq: n + 10,
                counterparty_account_id: String::new(),
                reference: "=rent".into(),
                book_time: Some(prost_types::Timestamp { seconds: start + n, nanos: 1_000 }),
                ..Entry::default()
            }
        };
        let entries = Arc::new((0..count).map(entry).collect::<Vec<_>>());
        Self { start, entries, closing: balance, refusal: None, calls: Arc::default() }
    }

    pub fn without_an_entry(&self) -> Self {
        let mut entries = self.entries.to_vec();
        entries.remove(1_700);
        Self { entries: Arc::new(entries), ..self.clone() }
    }

    pub fn with_another_closing(&self) -> Self {
        Self { closing: self.closing + 1, ..self.clone() }
    }

    pub fn refusing(&self, code: Code) -> Self {
        Self { refusal: Some(code), ..self.clone() }
    }

    pub fn opening(&self) -> i64 {
        1_000
    }

    pub fn closing(&self) -> i64 {
        self.closing
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn request(&self, request_id: &str, format: docs::StatementFormat) -> docs::GenerateStatementRequest {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        docs::GenerateStatementRequest {
            account_id: ACCOUNT.into(),
            request_id: request_id.into(),
            start_time: at(self.start),
            end_time: at(self.start + 86_400),
            format: format.into(),
        }
    }

    fn balance(&self, request: &GetBalanceRequest) -> Result<Balance, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(code) = self.refusal {
            return Err(refused(code));
        }
        let as_of = request.as_of.unwrap();
        let eve = prost_types::Timestamp { seconds: self.start - 1, nanos: 999_999_000 };
        let posted = if as_of == eve { self.opening() } else { self.closing };
        Ok(Balance { account_id: ACCOUNT.into(), posted: Some(eur(posted)), ..Balance::default() })
    }

    fn page(&self, request: &ListEntriesRequest) -> ListEntriesResponse {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.start_time.unwrap().seconds, self.start);
        let from = request.page_token.parse().unwrap_or(0);
        let to = (from + request.page_size as usize).min(self.entries.len());
        let next_page_token = if to < self.entries.len() { to.to_string() } else { String::new() };
        ListEntriesResponse { entries: self.entries[from..to].to_vec(), next_page_token }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is another service, with reasons of its own")]
fn refused(code: Code) -> Status {
    Status::new(code, "refused")
}

fn eur(minor_units: i64) -> Money {
    Money { currency_code: "EUR".into(), minor_units }
}

impl Service<http::Request<Body>> for Ledger {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let ledger = self.clone();
        async move {
            let answer = match request.uri().path() {
                "/ledger.v1.LedgerService/GetBalance" => {
                    let answer = service_fn(move |request: Request<GetBalanceRequest>| {
                        std::future::ready(ledger.balance(request.get_ref()).map(Response::new))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                "/ledger.v1.LedgerService/ListEntries" => {
                    let answer = service_fn(move |request: Request<ListEntriesRequest>| {
                        std::future::ready(Ok(Response::new(ledger.page(request.get_ref()))))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                "/accounts.v1.AccountsService/BatchGetAccounts" => {
                    let answer = service_fn(|request: Request<accounts::BatchGetAccountsRequest>| {
                        let account = |id: String| accounts::Account {
                            account_id: id,
                            customer_id: "c-alice".into(),
                            ..accounts::Account::default()
                        };
                        let accounts = request.into_inner().account_ids.into_iter().map(account).collect();
                        std::future::ready(Ok(Response::new(accounts::BatchGetAccountsResponse { accounts })))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                path => panic!("nobody should call {path}"),
            };
            Ok(answer)
        }
        .boxed()
    }
}
