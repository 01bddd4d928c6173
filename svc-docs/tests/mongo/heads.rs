//! Heads of the journal on a real MongoDB: kept once, never replaced, and listed for auditors only.
use chassis::call::{Call, Caller, Principal};
use proto::docs::v1 as pb;
use proto::docs::v1::journal_head_service_server::JournalHeadService as _;
use svc_docs::rpc::heads::Heads;
use tonic::{Code, Request, Status};

use super::{Arc, Duration, Fixture, subject};

fn as_caller<T>(caller: Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Call {
        caller: Arc::new(caller),
        deadline: chassis::Deadline::after(Duration::from_secs(60)),
        transaction_id: "t".into(),
        hops: 1,
        trace: chassis::trace::TraceContext::root(),
        token: None,
    });
    request
}

fn service(name: &str) -> Caller {
    Caller { principal: Principal::Service, service: Some(name.to_owned()) }
}

fn head(seq: i64, hash: u8) -> pb::JournalHead {
    pb::JournalHead {
        seq,
        hash: vec![hash; 32],
        book_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
        key_id: "key".to_owned(),
        signature: vec![9; 64],
    }
}

async fn append(docs: &Fixture, caller: Caller, heads: Vec<pb::JournalHead>) -> Result<(), Status> {
    let request = as_caller(caller, pb::AppendJournalHeadsRequest { heads });
    Heads::new(docs.store.clone()).append_journal_heads(request).await.map(|_| ())
}

async fn list(
    docs: &Fixture,
    caller: Caller,
    page_size: i32,
    page_token: String,
) -> Result<pb::ListJournalHeadsResponse, Status> {
    let request = as_caller(caller, pb::ListJournalHeadsRequest { page_size, page_token });
    Heads::new(docs.store.clone()).list_journal_heads(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_head_is_kept_once_and_never_replaced() {
    let docs = Fixture::start().await;
    let ledger = || service("svc-ledger");
    append(&docs, ledger(), vec![head(3, 3), head(7, 7)]).await.unwrap();
    // A message that came twice, in part or whole, is one.
    append(&docs, ledger(), vec![head(3, 3), head(9, 9)]).await.unwrap();
    // Another journal under the same number is the alarm; what stands beside it is kept all the same.
    let refused = append(&docs, ledger(), vec![head(7, 8), head(11, 11)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);

    let auditor = || subject("auditor", None, &["audit.read"]);
    let all = list(&docs, auditor(), 0, String::new()).await.unwrap();
    assert_eq!(all.heads, [head(11, 11), head(9, 9), head(7, 7), head(3, 3)]);
    assert_eq!(all.next_page_token, "");
    let first = list(&docs, auditor(), 3, String::new()).await.unwrap();
    assert_eq!(first.heads, all.heads[..3]);
    let second = list(&docs, auditor(), 3, first.next_page_token).await.unwrap();
    assert_eq!((second.heads.as_slice(), second.next_page_token.as_str()), (&all.heads[3..], ""));
    nobody_else_keeps_or_reads_heads(&docs).await;
    what_is_no_head_is_named(&docs).await;
}

async fn nobody_else_keeps_or_reads_heads(docs: &Fixture) {
    for caller in [service("svc-accounts"), subject("staff", None, &["staff.write"])] {
        let refused = append(docs, caller, vec![head(20, 1)]).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    for caller in [service("svc-ledger"), subject("staff", None, &["staff.read"])] {
        let refused = list(docs, caller, 0, String::new()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

async fn what_is_no_head_is_named(docs: &Fixture) {
    let changes: [fn(&mut pb::JournalHead); 5] = [
        |head| head.seq = 0,
        |head| head.hash.truncate(31),
        |head| head.book_time = Some(prost_types::Timestamp { seconds: 1, nanos: 1_000 }),
        |head| head.key_id.clear(),
        |head| head.signature.push(0),
    ];
    for change in changes {
        let mut wrong = head(30, 1);
        change(&mut wrong);
        let refused = append(docs, service("svc-ledger"), vec![wrong]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let none = append(docs, service("svc-ledger"), Vec::new()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
}
