//! ImportTransfers on a real store, through tonic's own server and client: answered in order, bounded, and whatever breaks, what is
//! left is the beginning of the stream, in whole chains, and going on by position makes each transfer once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chassis::call::Call;
use futures::{Stream, StreamExt as _, stream};
use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::ledger_service_server::LedgerServiceServer;
use proto::ledger::v1::transfer_result::Result as Became;
use rand::Rng as _;
use sqlx::{Executor as _, PgConnection};
use svc_ledger::rpc::Rpc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};

use crate::bank::{Bank, check_invariants, eur, eventually};
use crate::batches::reason;
use crate::contract::{as_caller, transfer};
use crate::head::{break_journal, mend_journal, take_head};
use crate::postgres::Postgres;

/// The smallest that HTTP/2 begins with: so little lies between the two ends.
const HTTP2_WINDOW: u32 = 65_535;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_are_answered_in_order() {
    let server = Postgres::start().await;
    let site = Site::on(&server).await;
    let mut root = server.superuser("ledger").await;

    each_has_a_result_of_its_own(&site).await;
    what_cannot_be_parsed_spoils_its_chain_only(&site).await;
    a_stream_that_keeps_no_order_ends(&site, &mut root).await;
    only_staff_import(&site).await;
    what_is_taken_in_is_bounded(&server, &site).await;
    check_invariants(&site.bank, &mut root).await;
    stopping_ends_a_stream_behind_its_answers(site, &mut root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_import_leaves_its_beginning_in_whole_chains() {
    let server = Postgres::start().await;
    let site = Site::on(&server).await;
    let mut root = server.superuser("ledger").await;
    nothing_is_judged_behind_what_the_store_refuses(&site, &mut root).await;
    breaks_at_random_places_make_each_transfer_once(&site, &mut root).await;
    a_crash_of_the_store_leaves_a_beginning_too(&server, &site).await;
    let mut root = server.superuser("ledger").await;
    check_invariants(&site.bank, &mut root).await;
    site.bank.stop().await;
}

/// A ledger that listens, and two accounts, the first with money.
struct Site {
    bank: Bank,
    names: [String; 2],
    address: SocketAddr,
    client: LedgerServiceClient<Channel>,
    as_customer: LedgerServiceClient<Channel>,
}

/// A connection to the ledger that can be cut in the middle of anything.
struct Wire {
    client: LedgerServiceClient<Channel>,
    task: JoinHandle<()>,
}

impl Wire {
    async fn to(site: &Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ledger) = (listener.local_addr().unwrap(), site.address);
        let task = site.bank.drain.spawn("wire", async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(ledger).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        Self { client: client(address), task }
    }

    fn cut(self) {
        self.task.abort();
    }
}

impl Site {
    async fn on(server: &Postgres) -> Self {
        let mut config = server.config();
        // So large that the room in the queue bounds no stream: what bounds it is its own.
        config.queue_max = 20_000;
        let bank = Bank::with(&config).await;
        let accounts = [bank.open("paul", 0).await, bank.open("paul", 0).await];
        bank.fund(accounts[0], 1_000_000).await;
        let address = listen(&bank, "anna").await;
        let (client, as_customer) = (client(address), client(listen(&bank, "paul").await));
        Self { names: accounts.map(|account| account.to_string()), address, client, as_customer, bank }
    }

    fn pay(&self, key: &str, minor_units: i64) -> pb::CreateTransferRequest {
        transfer(key, &self.names[0], &self.names[1], minor_units, false)
    }

    fn item(&self, position: i64, name: &str) -> pb::ImportTransfersRequest {
        item(position, self.pay(&format!("{name}/{position}"), 1))
    }

    async fn import(
        &self,
        items: impl Stream<Item = pb::ImportTransfersRequest> + Send + 'static,
    ) -> tonic::Streaming<pb::ImportTransfersResponse> {
        self.client.clone().import_transfers(items).await.unwrap().into_inner()
    }

    /// All answers of a stream, and how it ended.
    async fn all(&self, items: Vec<pb::ImportTransfersRequest>) -> (Vec<(i64, Became)>, Option<Status>) {
        let mut answers = self.import(stream::iter(items)).await;
        let mut all = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => all.push((answer.position, answer.result.unwrap().result.unwrap())),
                Ok(None) => return (all, None),
                Err(status) => return (all, Some(status)),
            }
        }
    }
}

fn client(address: SocketAddr) -> LedgerServiceClient<Channel> {
    LedgerServiceClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
}

/// Where every call to the bank is this caller's.
async fn listen(bank: &Bank, who: &'static str) -> SocketAddr {
    let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stamped = move |mut request: Request<()>| {
        let call = as_caller(who, ()).extensions().get::<Call>().cloned();
        request.extensions_mut().insert(call.unwrap());
        Ok(request)
    };
    let serving = Server::builder()
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .add_service(LedgerServiceServer::with_interceptor(rpc, stamped))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), bank.drain.stopping());
    bank.drain.spawn("rpc", async move { serving.await.unwrap() });
    address
}

fn item(position: i64, transfer: pb::CreateTransferRequest) -> pb::ImportTransfersRequest {
    pb::ImportTransfersRequest { position, transfer: Some(transfer) }
}

fn linked(mut request: pb::ImportTransfersRequest) -> pb::ImportTransfersRequest {
    request.transfer.as_mut().unwrap().linked = true;
    request
}

/// The reason of each error, and nothing for each transfer.
fn words(answers: &[(i64, Became)]) -> Vec<(i64, &str)> {
    answers.iter().map(|(position, became)| (*position, reason(became))).collect()
}

async fn outcomes(root: &mut PgConnection, below: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM ledger.outcome WHERE starts_with(request_id, $1)")
        .bind(below)
        .fetch_one(root)
        .await
        .unwrap()
}

async fn each_has_a_result_of_its_own(site: &Site) {
    let items = vec![
        site.item(3, "own"),
        item(4, site.pay("own/4", 100_000_000)),
        linked(site.item(7, "own")),
        site.item(8, "own"),
        linked(site.item(10, "own")),
        item(11, site.pay("own/11", 100_000_000)),
        site.item(12, "own"),
    ];
    let (answers, end) = site.all(items.clone()).await;
    assert!(end.is_none(), "{end:?}");
    let expect = [
        (3, ""),
        (4, "INSUFFICIENT_FUNDS"),
        (7, ""),
        (8, ""),
        (10, "CHAIN_FAILED"),
        (11, "INSUFFICIENT_FUNDS"),
        (12, ""),
    ];
    assert_eq!(words(&answers), expect);
    assert_eq!(site.all(items).await.0, answers, "the same answers for ever");
    assert_eq!(site.all(vec![]).await.0, []);
}

async fn what_cannot_be_parsed_spoils_its_chain_only(site: &Site) {
    let unfit = item(3, site.pay("unfit/3", 0));
    let nothing = pb::ImportTransfersRequest { position: 4, transfer: None };
    let mut validated = site.item(5, "unfit");
    validated.transfer.as_mut().unwrap().validate_only = true;
    let twice = item(9, site.pay("unfit/8", 1));
    let items = vec![
        site.item(1, "unfit"),
        linked(site.item(2, "unfit")),
        unfit,
        nothing,
        validated,
        site.item(6, "unfit"),
        linked(site.item(8, "unfit")),
        twice,
        linked(site.item(10, "unfit")),
        linked(site.item(11, "unfit")),
    ];
    let (answers, end) = site.all(items).await;
    assert!(end.is_none(), "{end:?}");
    let expect = [
        (1, ""),
        (2, "NOT_ATTEMPTED"),
        (3, "INVALID_REQUEST"),
        (4, "INVALID_REQUEST"),
        (5, "INVALID_REQUEST"),
        (6, ""),
        (8, "NOT_ATTEMPTED"),
        (9, "INVALID_REQUEST"),
        (10, "NOT_ATTEMPTED"),
        (11, "INVALID_REQUEST"),
    ];
    assert_eq!(words(&answers), expect);
    let Became::Error(error) = &answers[2].1 else { panic!("{answers:?}") };
    assert!(error.metadata.contains_key("transfer.amount.minor_units"), "{error:?}");
    // What was not attempted can come again in a chain that is fit.
    let (answers, _) = site.all(vec![linked(site.item(2, "unfit")), item(3, site.pay("unfit/3", 1))]).await;
    assert_eq!(words(&answers), [(2, ""), (3, "")]);
}

async fn a_stream_that_keeps_no_order_ends(site: &Site, root: &mut PgConnection) {
    for (name, positions) in [("equal", [4, 4]), ("lower", [4, 3]), ("zero", [4, 0])] {
        let items = positions.map(|position| item(position, site.pay(&format!("{name}/{position}"), 1)));
        let (answers, end) = site.all(items.to_vec()).await;
        assert_eq!(words(&answers), [(4, "")], "{name}: what came before is answered");
        assert_eq!(end.unwrap().code(), Code::InvalidArgument, "{name}");
        assert_eq!(outcomes(root, &format!("{name}/")).await, 1);
    }
    let (answers, end) = site.all(vec![site.item(0, "first")]).await;
    assert_eq!((answers.len(), end.unwrap().code()), (0, Code::InvalidArgument));

    let long = (1..=1_001).map(|position| linked(site.item(position, "long")));
    let (answers, end) = site.all(long.collect()).await;
    assert_eq!((answers.len(), end.unwrap().code()), (0, Code::InvalidArgument));
    assert_eq!(outcomes(root, "long/").await, 0);
    let longest = (1..=1_000).map(|position| {
        let item = site.item(position, "longest");
        if position < 1_000 { linked(item) } else { item }
    });
    let (answers, end) = site.all(longest.collect()).await;
    assert!(end.is_none() && words(&answers).iter().all(|(_, word)| word.is_empty()));
    assert_eq!((answers.len(), outcomes(root, "longest/").await), (1_000, 1_000));
}

async fn only_staff_import(site: &Site) {
    let refused = site.as_customer.clone().import_transfers(stream::iter([site.item(1, "customer")])).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}

async fn what_is_taken_in_is_bounded(server: &Postgres, site: &Site) {
    const ALL: i64 = 6_000;
    let mut replica = server.superuser("ledger").await;
    take_head(&mut replica).await;
    let read = Arc::new(AtomicI64::new(0));
    let items = (1..=ALL).map(|position| site.item(position, "bounded")).collect::<Vec<_>>();
    let counted = Arc::clone(&read);
    let items = stream::iter(items).inspect(move |item| counted.store(item.position, Ordering::Relaxed));
    let answers = site.import(items).await;
    // The stream stands still when neither end takes in any more.
    let (mut last, mut still) = (0, 0);
    let stands = eventually(async || {
        let now = read.load(Ordering::Relaxed);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still > 50
    });
    assert!(stands.await);
    // Beyond what is taken in, only what lies in the windows of HTTP/2, at about 150 bytes each.
    let taken_in = read.load(Ordering::Relaxed);
    assert!((2_000..3_000).contains(&taken_in), "{taken_in} were taken in");
    replica.execute("ROLLBACK").await.unwrap();
    let positions: Vec<i64> = answers.map(|answer| answer.unwrap().position).collect().await;
    assert_eq!(positions, (1..=ALL).collect::<Vec<_>>());
}

async fn stopping_ends_a_stream_behind_its_answers(site: Site, root: &mut PgConnection) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let mut answers = site.import(tokio_stream::wrappers::ReceiverStream::new(receiver)).await;
    for position in 1..=3 {
        sender.send(site.item(position, "stopped")).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().position, position);
    }
    site.bank.stop().await;
    let end = answers.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(outcomes(root, "stopped/").await, 3);
}

async fn nothing_is_judged_behind_what_the_store_refuses(site: &Site, root: &mut PgConnection) {
    break_journal(root, "IF NEW.amount = 13 THEN RAISE EXCEPTION 'refused'; END IF;").await;
    let items: Vec<_> = (1..=300)
        .map(|position| {
            item(position, site.pay(&format!("refused/{position}"), if position == 150 { 13 } else { 1 }))
        })
        .collect();
    let (answers, end) = site.all(items.clone()).await;
    mend_journal(root).await;
    assert_eq!(end.unwrap().code(), Code::Internal);
    assert_eq!(words(&answers), (1..150).map(|position| (position, "")).collect::<Vec<_>>());
    let made = positions_by_seq(root, "refused").await;
    assert_eq!(made, (1..150).collect::<Vec<_>>(), "what is behind a failure must wait for it");
    let (answers, end) = site.all(items).await;
    assert!(end.is_none() && answers.len() == 300, "{end:?}");
    assert_eq!(positions_by_seq(root, "refused").await, (1..=300).collect::<Vec<_>>());
}

/// The positions whose transfers are made, in the order of the journal.
async fn positions_by_seq(root: &mut PgConnection, name: &str) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT split_part(o.request_id, '/', 2)::bigint FROM ledger.outcome o JOIN ledger.journal j ON j.id = o.row_id \
         WHERE starts_with(o.request_id, $1) ORDER BY j.seq",
    )
    .bind(format!("{name}/"))
    .fetch_all(root)
    .await
    .unwrap()
}

async fn breaks_at_random_places_make_each_transfer_once(site: &Site, root: &mut PgConnection) {
    const ALL: i64 = 3_000;
    let mut random = rand::rng();
    // Chains of up to twelve; `ends` are the positions at which one ends.
    let (mut items, mut ends) = (Vec::new(), std::collections::BTreeSet::from([0]));
    while (items.len() as i64) < ALL {
        let length = random.random_range(1..=12).min(ALL - items.len() as i64);
        for place in 1..=length {
            let one = site.item(items.len() as i64 + 1, "broken");
            items.push(if place < length { linked(one) } else { one });
        }
        ends.insert(items.len() as i64);
    }
    let (mut answered, mut breaks) = (0, 0);
    while answered < ALL {
        // Behind the last chain that was answered, or earlier.
        let behind = *ends.range(..=answered).next_back().unwrap();
        let again = *ends.range(..=(behind - random.random_range(0..50)).max(0)).next_back().unwrap();
        let rest = items[usize::try_from(again).unwrap()..].to_vec();
        // The last attempt goes through, so that the test comes to its end.
        let stop_after = if breaks < 25 { random.random_range(0..400) } else { i64::MAX };
        let mut wire = Wire::to(site).await;
        let import = wire.client.import_transfers(stream::iter(rest).chain(stream::pending()));
        let (mut answers, mut got) = (import.await.unwrap().into_inner(), 0);
        while got < stop_after && answered < ALL {
            let answer = answers.message().await.unwrap().unwrap();
            assert!(matches!(answer.result.unwrap().result, Some(Became::Transfer(_))));
            answered = answered.max(answer.position);
            got += 1;
        }
        wire.cut();
        breaks += 1;
        // At whatever moment one looks: a beginning, in whole chains, at least as far as was answered.
        let made = positions_by_seq(root, "broken").await;
        let last = made.len() as i64;
        assert_eq!(made, (1..=last).collect::<Vec<_>>(), "not a beginning, after {breaks} breaks");
        assert!(ends.contains(&last) && last >= answered, "{last} is within a chain, or lost: {answered}");
    }
    assert!(breaks > 5, "{breaks}");
    assert_eq!(positions_by_seq(root, "broken").await, (1..=ALL).collect::<Vec<_>>());
}

async fn a_crash_of_the_store_leaves_a_beginning_too(server: &Postgres, site: &Site) {
    const ALL: i64 = 4_000;
    // Chains of two.
    let items: Vec<_> = (1..=ALL)
        .map(|position| {
            let item = site.item(position, "crashed");
            if position % 2 == 1 { linked(item) } else { item }
        })
        .collect();
    let (mut answered, mut ends, mut crashed) = (0, Vec::new(), false);
    let all_answered = eventually(async || {
        let behind = usize::try_from(answered - answered % 2).unwrap();
        let mut answers = site.import(stream::iter(items[behind..].to_vec())).await;
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    assert!(matches!(answer.result.unwrap().result, Some(Became::Transfer(_))));
                    answered = answer.position;
                }
                Ok(None) => return answered == ALL,
                Err(end) => {
                    ends.push(end.code());
                    return false;
                }
            }
            if answered == 501 && !crashed {
                // More is waiting, and more is yet to be read.
                crashed = true;
                tokio::task::block_in_place(|| {
                    server.crash();
                    server.resume();
                });
            }
        }
    });
    assert!(all_answered.await, "{ends:?}");
    // A stream that found nothing to do meanwhile may have outlived it.
    assert!(ends.iter().all(|end| *end == Code::Unavailable), "{ends:?}");
    let mut root = server.superuser("ledger").await;
    assert_eq!(positions_by_seq(&mut root, "crashed").await, (1..=ALL).collect::<Vec<_>>());
}
