//! Payees named by tokens: that the token makes no difference to what is judged and kept, and that the account it stands for is told
//! to nobody.

use std::time::{Duration, SystemTime};

use chassis::seal::Seal;
use prost::Message as _;
use proto::accounts::v1::Payee;
use proto::ledger::v1 as pb;
use proto::ledger::v1::create_transfer_request::Credit;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use svc_ledger::rpc::Rpc;
use svc_ledger::rpc::payee::PURPOSE;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::bank::{Bank, eur};
use crate::contract::{as_caller, transfer};
use crate::postgres::Postgres;

struct Desk {
    rpc: Rpc,
    seal: Seal,
    from: String,
    to: String,
}

impl Desk {
    async fn on(bank: &Bank) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), chassis::seal::generate().unwrap()).unwrap();
        let seal = Seal::load(file.path(), PURPOSE).unwrap();
        let rpc = Rpc::new(bank.store.clone(), vec![eur()]).paying(seal.clone());
        let (from, to) =
            (bank.open("carl", -1_000).await.to_string(), bank.open("dora", 0).await.to_string());
        Self { rpc, seal, from, to }
    }

    fn token(&self, account: &str, end: SystemTime) -> String {
        let payee = Payee { account_id: account.to_owned(), currency_code: "EUR".to_owned() };
        self.seal.seal(&payee.encode_to_vec(), end).unwrap()
    }

    fn good(&self) -> String {
        self.token(&self.to, SystemTime::now() + Duration::from_secs(60))
    }

    fn over(&self) -> String {
        self.token(&self.to, SystemTime::now() - Duration::from_secs(1))
    }

    async fn pay(&self, key: &str, credit: Credit) -> Result<pb::Transfer, Status> {
        let request =
            pb::CreateTransferRequest { credit: Some(credit), ..transfer(key, &self.from, "", 5, false) };
        let answer = self.rpc.create_transfer(as_caller("carl", request)).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn with(&self, key: &str, token: String) -> Result<pb::Transfer, Status> {
        self.pay(key, Credit::PayeeToken(token)).await
    }
}

fn reason(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().unwrap();
    (status.code(), info.reason, info.metadata.get("outcome").cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_payee_token_is_the_account_it_stands_for_and_never_says_which() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let desk = Desk::on(&bank).await;
    let paid = desk.with("one", desk.good()).await.unwrap();
    assert_eq!((paid.debit_account_id.as_str(), paid.credit_account_id.as_str()), (desk.from.as_str(), ""));
    assert_eq!(
        desk.with("one", desk.good()).await.unwrap(),
        paid,
        "another token of the account is the same body"
    );
    let by_id = desk.pay("one", Credit::CreditAccountId(desk.to.clone())).await.unwrap();
    assert_eq!(by_id, paid, "and so is its id, which the answer does not say either: it was frozen without");

    let other = bank.open("eve", 0).await.to_string();
    let other = desk.token(&other, SystemTime::now() + Duration::from_secs(60));
    let changed = desk.with("one", other).await.unwrap_err();
    assert_eq!(reason(&changed).1, "REQUEST_ID_REUSED");

    let nobody = Uuid::new_v4().to_string();
    let gone = desk.token(&nobody, SystemTime::now() + Duration::from_secs(60));
    let missing = desk.with("two", gone).await.unwrap_err();
    assert_eq!(reason(&missing), (Code::NotFound, "ACCOUNT_NOT_FOUND".into(), "refused".into()));
    assert!(!format!("{missing:?}").contains(&nobody), "{missing:?}");
    assert_eq!(missing.get_details_resource_info().unwrap().resource_name, "");
}

#[tokio::test]
async fn a_token_that_is_over_makes_nothing_and_still_answers_for_what_was_made_in_time() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let desk = Desk::on(&bank).await;
    let late = desk.with("late", desk.over()).await.unwrap_err();
    assert_eq!(reason(&late), (Code::InvalidArgument, "PAYEE_TOKEN_EXPIRED".into(), "refused".into()));
    let violations = late.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "payee_token");
    let again = desk.with("late", desk.good()).await.unwrap();
    assert!(again.seq > 0, "nothing was kept under its key");

    assert_eq!(desk.with("late", desk.over()).await.unwrap(), again, "what was made in time is answered for");
    let forged = desk.with("forged", "made up".to_owned()).await.unwrap_err();
    assert_eq!(reason(&forged), (Code::InvalidArgument, "PAYEE_TOKEN_INVALID".into(), "refused".into()));
    let entries = bank.store.last_seq().await.unwrap();
    assert_eq!(entries, again.seq, "no row but its own");
}
