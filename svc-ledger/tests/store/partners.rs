//! Partners on a real store: what a consent lets them read and debit, that caps hold whatever comes at once, and that a consent
//! taken back is taken back for the next command and the next read.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use svc_ledger::domain::account::Amount;
use svc_ledger::domain::command::Resolution;
use svc_ledger::domain::grant::{Scope, Scopes, Terms};
use svc_ledger::domain::verdict::{Refusal, Transfer, Verdict};
use svc_ledger::error::Error;
use svc_ledger::rpc::Rpc;
use svc_ledger::store::read::{Viewer, Window};
use tonic::Code;
use uuid::Uuid;

use crate::bank::{
    Bank, booked, check_invariants, consent, customer, direct, eur, hold, named, partner, staff,
};
use crate::contract::{account, as_caller, expected, refusal, transfer};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_partner_reaches_only_what_its_customer_consented_to() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    concurrent_debits_never_exceed_the_total_cap(&server, &bank).await;
    a_consent_taken_back_is_so_for_the_next_command(&bank).await;
    a_refusal_by_a_cap_is_frozen(&bank).await;
    what_a_hold_took_comes_back_with_it(&bank).await;
    readers_see_what_was_consented_to(&bank).await;
    check_invariants(&bank, &mut root).await;
    bank.stop().await;
}

fn capped(total_max: i64) -> Terms {
    Terms { total_max: Amount::new(total_max), ..consent("psp", &[Scope::CreateTransfers]) }
}

async fn concurrent_debits_never_exceed_the_total_cap(server: &Postgres, bank: &Bank) {
    let other = Bank::on(server).await;
    let (from, to) = (bank.open("quin", 0).await, bank.open("rhea", 0).await);
    bank.fund(from, 1_000).await;
    let terms = capped(100);
    bank.grant(from, &terms).await;
    // Through two replicas, some held and some direct.
    let verdicts =
        join_all((0..80).map(|number| {
            let replica = if number % 2 == 0 { bank } else { &other };
            let debit = if number % 3 == 0 { hold(from, to, 3) } else { direct(from, to, 3) };
            async move {
                replica.transfer(partner("psp", "quin"), &format!("cap {number}"), &debit).await.unwrap()
            }
        }))
        .await;
    let taken = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Booked(_))).count();
    let capped = verdicts.iter().filter(|verdict| **verdict == Verdict::Refused(Refusal::TotalCap)).count();
    assert_eq!((taken, capped), (33, 47));
    assert_eq!(bank.grant(from, &terms).await.used, 99);
    assert_eq!(bank.balance(from).await.1, 1_000 - 99);
    // Raised under a later revision, what was taken still counts.
    let raised = Terms { total_max: Amount::new(102), revision: 2, ..terms };
    assert_eq!(bank.grant(from, &raised).await.used, 99);
    booked(bank.transfer(partner("psp", "quin"), "raised", &direct(from, to, 3)).await.unwrap());
    other.stop().await;
}

async fn a_consent_taken_back_is_so_for_the_next_command(bank: &Bank) {
    let (from, to) = (bank.open("saul", 0).await, bank.open("tess", 0).await);
    bank.fund(from, 100_000).await;
    let terms = consent("psp", &[Scope::CreateTransfers]);
    bank.grant(from, &terms).await;
    let revoked = AtomicBool::new(false);
    // Whatever was asked after the answer to the revocation must be refused, however busy the ledger is.
    let clients = join_all((0..8).map(|client| {
        let revoked = &revoked;
        async move {
            let mut accepted = 0;
            for round in 0.. {
                let after = revoked.load(Ordering::SeqCst);
                let key = format!("revoke {client}/{round}");
                match bank.transfer(partner("psp", "saul"), &key, &direct(from, to, 1)).await.unwrap() {
                    Verdict::Booked(_) => {
                        assert!(!after, "debited by a consent that was taken back");
                        accepted += 1;
                    }
                    verdict => assert_eq!(verdict, Verdict::Refused(Refusal::NotPermitted)),
                }
                if after {
                    return accepted;
                }
            }
            accepted
        }
    }));
    let revoking = async {
        while bank.balance(from).await.1 > 100_000 - 50 {
            tokio::task::yield_now().await;
        }
        bank.grant(from, &Terms { scopes: Scopes::default(), revision: 2, ..terms.clone() }).await;
        revoked.store(true, Ordering::SeqCst);
    };
    let (accepted, ()) = tokio::join!(clients, revoking);
    let accepted: i64 = accepted.into_iter().sum();
    assert!(accepted >= 50);
    assert_eq!(bank.balance(from).await.1, 100_000 - accepted);
}

async fn a_refusal_by_a_cap_is_frozen(bank: &Bank) {
    let (from, to) = (bank.open("umar", 0).await, bank.open("vera", 0).await);
    bank.fund(from, 1_000).await;
    let terms = capped(10);
    bank.grant(from, &terms).await;
    let refused = Verdict::Refused(Refusal::TotalCap);
    let debit = direct(from, to, 11);
    assert_eq!(bank.transfer(partner("psp", "umar"), "frozen cap", &debit).await.unwrap(), refused);
    bank.grant(from, &Terms { total_max: None, revision: 2, ..terms }).await;
    assert_eq!(bank.transfer(partner("psp", "umar"), "frozen cap", &debit).await.unwrap(), refused);
    let thawed = booked(bank.transfer(partner("psp", "umar"), "thawed cap", &debit).await.unwrap());
    // A partner's key is its own: neither another partner nor the owner meets it.
    booked(bank.transfer(customer("umar"), "frozen cap", &debit).await.unwrap());
    // Nobody else acts by the consent, and the partner by no other account's.
    let not_permitted = Verdict::Refused(Refusal::NotPermitted);
    for actor in [partner("tpp", "umar"), partner("psp", "vera")] {
        assert_eq!(bank.transfer(actor, "foreign", &debit).await.unwrap(), not_permitted);
    }
    let back = bank.transfer(partner("psp", "vera"), "back", &direct(to, from, 1)).await.unwrap();
    assert_eq!(back, not_permitted);
    assert!(matches!(
        bank.transfer(partner("psp", "umar"), "thawed cap", &debit).await.unwrap(),
        Verdict::Recorded(row) if row == thawed.id
    ));
}

async fn what_a_hold_took_comes_back_with_it(bank: &Bank) {
    let (from, to) = (bank.open("wade", 0).await, bank.open("xena", 0).await);
    bank.fund(from, 1_000).await;
    let terms = capped(10);
    bank.grant(from, &terms).await;
    let psp = || partner("psp", "wade");
    let held = booked(bank.transfer(psp(), "held", &hold(from, to, 10)).await.unwrap());
    let full = bank.transfer(psp(), "full", &direct(from, to, 1)).await.unwrap();
    assert_eq!(full, Verdict::Refused(Refusal::TotalCap));
    bank.resolve(psp(), "void", held.id, Resolution::Void).await.unwrap();
    assert_eq!(bank.grant(from, &terms).await.used, 0);
    let again = booked(bank.transfer(psp(), "again", &hold(from, to, 10)).await.unwrap());
    let posted = bank.resolve(psp(), "post", again.id, Resolution::POST_ALL).await.unwrap();
    assert!(matches!(posted, Verdict::Recorded(_)), "{posted:?}");
    assert_eq!(bank.grant(from, &terms).await.used, 10);
    // Once the consent is taken back, the partner's holds are posted by staff or by nobody.
    bank.grant(from, &Terms { total_max: None, revision: 2, ..terms.clone() }).await;
    let late = booked(bank.transfer(psp(), "late", &hold(from, to, 5)).await.unwrap());
    bank.grant(from, &Terms { scopes: Scopes::default(), revision: 3, ..terms }).await;
    let refused = bank.resolve(psp(), "post late", late.id, Resolution::POST_ALL).await.unwrap();
    assert_eq!(refused, Verdict::Refused(Refusal::NotPermitted));
    let posted = bank.resolve(staff("anna"), "post late", late.id, Resolution::POST_ALL).await.unwrap();
    assert!(matches!(posted, Verdict::Recorded(_)), "{posted:?}");
}

async fn readers_see_what_was_consented_to(bank: &Bank) {
    let (salary, savings, yuri) =
        (bank.open("zoe", 0).await, bank.open("zoe", 0).await, bank.open("yuri", 0).await);
    bank.fund(salary, 500).await;
    let saved = booked(bank.transfer(customer("zoe"), "save", &direct(salary, savings, 100)).await.unwrap());
    let paid = booked(bank.transfer(customer("zoe"), "pay", &direct(salary, yuri, 50)).await.unwrap());
    let viewer = Viewer::Partner { partner: "tpp".to_owned(), customer: "zoe".to_owned() };
    let window = Window { from: None, until: None, after: None, limit: 10 };
    let refused = |error: Error| assert!(matches!(error, Error::NotPermitted), "{error:?}");
    let balance = async |account: Uuid| bank.store.balance(&viewer, &named(account)).await;
    let past =
        async |account: Uuid| bank.store.balance_as_of(&viewer, &named(account), i64::from(i32::MAX)).await;
    let entries = async |account: Uuid| bank.store.entries(&viewer, &named(account), window).await;
    let list = async |account: Option<Uuid>| -> Result<Vec<Transfer>, Error> {
        bank.store.transfers(&viewer, account.map(named).as_ref(), None, 10).await
    };

    // Nothing by owning alone, and each act by its own scope.
    let terms = consent("tpp", &[Scope::ReadBalance]);
    for account in [salary, Uuid::new_v4()] {
        refused(balance(account).await.unwrap_err());
    }
    bank.grant(salary, &terms).await;
    let before = balance(salary).await.unwrap();
    assert_eq!(before.posted, 350);
    assert_eq!(past(salary).await.unwrap().version, 0);
    refused(balance(savings).await.unwrap_err());
    refused(past(savings).await.unwrap_err());
    refused(entries(salary).await.unwrap_err());
    refused(list(Some(salary)).await.unwrap_err());
    refused(bank.store.transfer(&viewer, saved.id).await.unwrap_err());
    assert_eq!(list(None).await.unwrap(), []);
    // A consent of one customer is none of another's.
    let other = Viewer::Partner { partner: "tpp".to_owned(), customer: "yuri".to_owned() };
    refused(bank.store.balance(&other, &named(salary)).await.unwrap_err());

    let terms = Terms { scopes: [Scope::ReadEntries].into_iter().collect(), revision: 2, ..terms };
    bank.grant(salary, &terms).await;
    refused(balance(salary).await.unwrap_err());
    let (_, seen) = entries(salary).await.unwrap();
    assert_eq!(seen.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [500, -100, -50]);
    assert_eq!(seen[1].counterparty, None, "the savings account was not consented to");
    assert_eq!(list(Some(salary)).await.unwrap().len(), 3);
    assert_eq!(list(None).await.unwrap().len(), 3);
    assert_eq!(bank.store.transfer(&viewer, paid.id).await.unwrap(), paid);
    // By the savings account alone, it sees that money came and not from where.
    let savings_terms = consent("tpp", &[Scope::ReadEntries]);
    bank.grant(savings, &savings_terms).await;
    let (_, seen) = entries(salary).await.unwrap();
    assert_eq!(seen[1].counterparty.map(|party| party.id), Some(savings));
    bank.grant(salary, &Terms { scopes: Scopes::default(), revision: 3, ..terms }).await;
    assert_eq!(bank.store.transfer(&viewer, saved.id).await.unwrap(), Transfer { debit: None, ..saved });
    refused(bank.store.transfer(&viewer, paid.id).await.unwrap_err());
    refused(entries(salary).await.unwrap_err());
    assert_eq!(list(None).await.unwrap().len(), 1);

    // What has expired allows nothing, by the database's clock.
    let over = Terms { expires_at: 1_000, revision: 2, ..savings_terms };
    bank.grant(savings, &over).await;
    refused(entries(savings).await.unwrap_err());
    // A grant is a row about the account that changes nothing of what it held.
    let staff =
        bank.store.balance_as_of(&Viewer::Staff, &named(salary), i64::from(u32::MAX) * 1_000).await.unwrap();
    assert_eq!((staff.seq, staff.booked_at), (paid.seq, before.booked_at));
}

fn grant(consent: Uuid, account_id: &str) -> pb::Grant {
    pb::Grant {
        consent_id: consent.to_string(),
        account_id: account_id.to_owned(),
        partner_id: "psp".to_owned(),
        scopes: vec![pb::GrantScope::ReadBalance.into(), pb::GrantScope::CreateTransfers.into()],
        per_transfer_max_minor_units: 60,
        total_max_minor_units: 100,
        expire_time: Some(prost_types::Timestamp { seconds: 4_102_444_800, nanos: 0 }),
        revision: 3,
        used_minor_units: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_grant_and_partner_calls_keep_their_contract() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
    let (carl, dora) = (bank.open("carl", 0).await, bank.open("dora", 0).await);
    bank.fund(carl, 1_000).await;
    let (carl, dora, consent) = (carl.to_string(), dora.to_string(), Uuid::now_v7());
    let good = || grant(consent, &carl);
    setting_has_its_errors(&rpc, &good, &dora).await;
    partners_have_their_errors_in_order(&rpc, &carl, &dora).await;
    // Opening is for svc-accounts alone, also when a partner's certificate stands before it.
    let opened = rpc.create_ledger_account(as_caller("psp/carl", account(&carl, "carl"))).await;
    assert_eq!(refusal(opened), expected(Code::PermissionDenied, "NOT_PERMITTED"));
    bank.stop().await;
}

async fn setting_has_its_errors(rpc: &Rpc, good: &impl Fn() -> pb::Grant, dora: &str) {
    let set = async |who: &str, grant: pb::Grant| {
        rpc.set_grant(as_caller(who, pb::SetGrantRequest { grant: Some(grant) })).await
    };
    let first = set("svc-accounts", good()).await.unwrap().into_inner();
    assert_eq!(first, good());
    assert_eq!(set("svc-accounts", good()).await.unwrap().into_inner(), first);
    let invalid = (Code::InvalidArgument, "INVALID_REQUEST");
    let cases = [
        ("svc-accounts", pb::Grant::default(), invalid),
        ("svc-accounts", pb::Grant { consent_id: "x".into(), ..good() }, invalid),
        ("svc-accounts", pb::Grant { account_id: "settlement-EUR".into(), ..good() }, invalid),
        ("svc-accounts", pb::Grant { partner_id: String::new(), ..good() }, invalid),
        ("svc-accounts", pb::Grant { partner_id: "a\u{0}".into(), ..good() }, invalid),
        ("svc-accounts", pb::Grant { scopes: vec![0], ..good() }, invalid),
        ("svc-accounts", pb::Grant { scopes: vec![4], ..good() }, invalid),
        ("svc-accounts", pb::Grant { total_max_minor_units: -1, ..good() }, invalid),
        ("svc-accounts", pb::Grant { expire_time: None, ..good() }, invalid),
        ("svc-accounts", pb::Grant { revision: -1, ..good() }, invalid),
        ("svc-docs", good(), (Code::PermissionDenied, "NOT_PERMITTED")),
        ("carl", good(), (Code::PermissionDenied, "NOT_PERMITTED")),
        ("anna", good(), (Code::PermissionDenied, "NOT_PERMITTED")),
        ("psp/carl", good(), (Code::PermissionDenied, "NOT_PERMITTED")),
        (
            "svc-accounts",
            pb::Grant { account_id: Uuid::new_v4().to_string(), ..good() },
            (Code::NotFound, "ACCOUNT_NOT_FOUND"),
        ),
        (
            "svc-accounts",
            pb::Grant { account_id: dora.to_owned(), revision: 2, ..good() },
            (Code::AlreadyExists, "GRANT_EXISTS"),
        ),
        ("svc-accounts", pb::Grant { revision: 2, ..good() }, (Code::FailedPrecondition, "STALE_REVISION")),
        (
            "svc-accounts",
            pb::Grant { total_max_minor_units: 0, ..good() },
            (Code::AlreadyExists, "GRANT_EXISTS"),
        ),
    ];
    for (who, grant, (code, reason)) in cases {
        assert_eq!(refusal(set(who, grant.clone()).await), expected(code, reason), "{who} {grant:?}");
    }
}

async fn partners_have_their_errors_in_order(rpc: &Rpc, carl: &str, dora: &str) {
    use tonic_types::StatusExt as _;
    let create = async |who: &str, request| rpc.create_transfer(as_caller(who, request)).await;
    let nobody = Uuid::new_v4().to_string();
    let usd = |mut request: pb::CreateTransferRequest| {
        request.amount = Some(pb::Money { currency_code: "USD".into(), minor_units: 61 });
        request
    };
    let cap = (Code::FailedPrecondition, "CONSENT_CAP_EXCEEDED");
    let forbidden = (Code::PermissionDenied, "NOT_PERMITTED");
    let cases = [
        // Nobody's token, another's, another partner; a member of staff is none when a partner brings the token.
        ("psp/", transfer("p0", carl, dora, 1, false), forbidden),
        ("psp/dora", transfer("p1", carl, dora, 1, false), forbidden),
        ("psp/dora", transfer("p2", dora, carl, 1, false), forbidden),
        ("tpp/carl", transfer("p3", carl, dora, 1, false), forbidden),
        ("psp/anna", transfer("p4", carl, dora, 1, false), forbidden),
        ("psp/carl", transfer("p5", &nobody, dora, 1, false), forbidden),
        ("tpp/carl", transfer("p6", carl, &nobody, 61, false), forbidden),
        ("psp/carl", transfer("p7", carl, &nobody, 61, false), (Code::NotFound, "ACCOUNT_NOT_FOUND")),
        (
            "psp/carl",
            usd(transfer("p8", carl, dora, 61, false)),
            (Code::FailedPrecondition, "CURRENCY_MISMATCH"),
        ),
        ("psp/carl", transfer("p9", carl, dora, 61, false), cap),
        ("psp/carl", transfer("p9", carl, dora, 61, false), cap),
        ("psp/carl", transfer("p9", carl, dora, 60, false), (Code::AlreadyExists, "REQUEST_ID_REUSED")),
    ];
    for (who, request, (code, reason)) in cases {
        assert_eq!(refusal(create(who, request.clone()).await), expected(code, reason), "{who} {request:?}");
    }
    let which = async |key: &str, amount| {
        let status = create("psp/carl", transfer(key, carl, dora, amount, false)).await.unwrap_err();
        status.get_error_details().error_info().unwrap().metadata["cap"].clone()
    };
    assert_eq!(which("c0", 61).await, "per_transfer_max_minor_units");
    create("psp/carl", transfer("c1", carl, dora, 60, false)).await.unwrap();
    assert_eq!(which("c2", 41).await, "total_max_minor_units");
    create("psp/carl", transfer("c3", carl, dora, 40, true)).await.unwrap();

    let balance = pb::GetBalanceRequest { account_id: carl.to_owned(), ..pb::GetBalanceRequest::default() };
    let seen = rpc.get_balance(as_caller("psp/carl", balance.clone())).await.unwrap().into_inner();
    assert_eq!(seen.available.unwrap().minor_units, 900);
    for who in ["psp/", "tpp/carl", "psp/dora", "psp/anna"] {
        let refused = refusal(rpc.get_balance(as_caller(who, balance.clone())).await);
        assert_eq!(refused, expected(Code::PermissionDenied, "NOT_PERMITTED"), "{who}");
    }
    // The consent is not for entries.
    let entries = pb::ListEntriesRequest { account_id: carl.to_owned(), ..pb::ListEntriesRequest::default() };
    let refused = refusal(rpc.list_entries(as_caller("psp/carl", entries)).await);
    assert_eq!(refused, expected(Code::PermissionDenied, "NOT_PERMITTED"));
    let list = rpc.list_transfers(as_caller("psp/carl", pb::ListTransfersRequest::default())).await;
    assert_eq!(list.unwrap().into_inner().transfers, []);
    let list = rpc.list_transfers(as_caller("psp/", pb::ListTransfersRequest::default())).await;
    assert_eq!(refusal(list), expected(Code::PermissionDenied, "NOT_PERMITTED"));
}
