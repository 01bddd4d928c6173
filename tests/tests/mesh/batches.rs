//! Many transfers in one call and in one stream, through the edge: a batch over REST, and imports over REST and gRPC that are cut at
//! random places and go on behind what was answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::drain::Drain;
use e2e::World;
use e2e::grpc::{calling, channel};
use e2e::rest::tls;
use e2e::world::{Customer, minor_units, transfer, unique};
use futures::{StreamExt as _, stream};
use http::Request;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::transfer_result::Result as Became;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

crate::tests![
    a_batch_answers_each_transfer_in_order,
    a_batch_that_cannot_be_read_changes_nothing,
    a_thousand_fit_into_one_call,
    an_import_over_rest_goes_on_where_it_was_cut,
    an_import_over_grpc_goes_on_where_it_was_cut,
    an_import_is_for_staff,
];

/// Longer than any answer takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn two_accounts(world: &World, funded: i64) -> (Customer, String, String) {
    let customer = world.customer().await;
    let from = world.account(&customer, "EUR", 0).await;
    let to = world.account(&customer, "EUR", 0).await;
    world.fund(&from, "EUR", funded).await;
    (customer, from, to)
}

/// A transfer with its key in the body, as one of several has it.
fn keyed(key: &str, from: &str, to: &str, minor_units: i64) -> Value {
    let mut body = transfer(from, to, "EUR", minor_units, false);
    body["requestId"] = json!(key);
    body
}

async fn a_batch_answers_each_transfer_in_order(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 1_000).await;
    let key = unique("batch");
    let named = |number: usize, amount| keyed(&format!("{key}-{number}"), &from, &to, amount);
    let mut requests =
        [100, 5_000, 1, 2, 3].into_iter().enumerate().map(|(number, amount)| named(number, amount));
    let mut requests: Vec<Value> = requests.by_ref().collect();
    requests[3]["linked"] = json!(true);
    let body = json!({ "requests": requests });
    let staff = world.staff();
    let post = || world.rest.post(&staff, "/v1/transfers:batchCreate", &key, &body);
    let answer = post().await.ok();
    let results = answer["results"].as_array().unwrap();
    let made: Vec<i64> = results.iter().map(|result| minor_units(&result["transfer"]["amount"])).collect();
    assert_eq!(made, [100, 0, 1, 2, 3]);
    let error = &results[1]["error"];
    assert_eq!(
        (error["status"].as_str(), error["reason"].as_str(), error["outcome"].as_str()),
        (Some("FAILED_PRECONDITION"), Some("INSUFFICIENT_FUNDS"), Some("OUTCOME_REFUSED"))
    );
    let chain = |number: usize| results[number]["transfer"]["chainSeq"].as_str().unwrap().to_owned();
    assert_eq!((chain(0), chain(3)), ("0".to_owned(), chain(4)));
    assert_eq!(post().await.ok(), answer, "the same answer, word for word");
    assert_eq!(world.balance(&customer.token, &to).await, 106);
}

async fn a_batch_that_cannot_be_read_changes_nothing(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 100).await;
    let key = unique("batch");
    let mut last = keyed(&format!("{key}-2"), &from, &to, 0);
    last["linked"] = json!(true);
    let body = json!({ "requests": [keyed(&key, &from, &to, 1), keyed(&key, &from, &to, 1), last] });
    let refused = world.rest.post(&world.staff(), "/v1/transfers:batchCreate", &key, &body).await;
    let error = refused.refused(400, "INVALID_ARGUMENT", "INVALID_REQUEST").to_string();
    for field in ["requests[1].request_id", "requests[2].amount.minor_units", "requests[2].linked"] {
        assert!(error.contains(field), "{field}: {error}");
    }
    let refused = world.rest.post(&customer.token, "/v1/transfers:batchCreate", &key, &body).await;
    refused.refused(403, "PERMISSION_DENIED", "SCOPE_MISSING");
    assert_eq!(world.balance(&customer.token, &from).await, 100);
}

async fn a_thousand_fit_into_one_call(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 10_000).await;
    let (key, staff) = (unique("batch"), world.staff());
    let mut requests: Vec<Value> =
        (0..1_000).map(|number| keyed(&format!("{key}-{number}"), &from, &to, 1)).collect();
    for request in &mut requests {
        // The longest text there can be, of characters of four bytes.
        request["reference"] = json!("\u{1f4b6}".repeat(140));
    }
    let body = json!({ "requests": requests, "failureMode": "FAILURE_MODE_ATOMIC" });
    let answer = world.rest2.post(&staff, "/v1/transfers:batchCreate", &key, &body).await.ok();
    let results = answer["results"].as_array().unwrap();
    assert!(results.len() == 1_000 && results.iter().all(|result| result["transfer"].is_object()));
    let again = world.rest2.post(&staff, "/v1/transfers:batchCreate", &key, &body).await.ok();
    assert!(again == answer, "the same answer, word for word");
    assert_eq!(world.balance(&customer.token, &to).await, 1_000);
}

/// A way to the edge's public listener that can be cut in the middle of anything.
struct Wire {
    port: u16,
    task: JoinHandle<()>,
}

impl Wire {
    async fn to(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, edge) = (listener.local_addr().unwrap().port(), world.mesh.ports().public);
        let task = Drain::default().spawn("wire", async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", edge)).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        Self { port, task }
    }

    fn cut(&self) {
        self.task.abort();
    }
}

/// What is imported: transfers in chains, each with its position as its reference.
struct Load {
    items: Vec<pb::ImportTransfersRequest>,
    /// Where chains end, by position.
    ends: Vec<usize>,
}

impl Load {
    fn new(from: &str, to: &str) -> Self {
        let (key, mut load) = (unique("import"), Self { items: Vec::new(), ends: vec![0] });
        for chain in 0..160 {
            // Chains of one to seven.
            let length = 1 + chain * 5 % 7;
            for place in 1..=length {
                let position = load.items.len() + 1;
                let transfer = pb::CreateTransferRequest {
                    request_id: format!("{key}-{position}"),
                    debit_account_id: from.to_owned(),
                    credit: Some(pb::create_transfer_request::Credit::CreditAccountId(to.to_owned())),
                    amount: Some(pb::Money { currency_code: "EUR".to_owned(), minor_units: 1 }),
                    reference: position.to_string(),
                    linked: place < length,
                    ..Default::default()
                };
                let position = i64::try_from(position).unwrap();
                load.items.push(pb::ImportTransfersRequest { position, transfer: Some(transfer) });
            }
            load.ends.push(load.items.len());
        }
        load
    }

    /// What comes behind the last whole chain that was answered.
    fn behind(&self, answered: usize) -> Vec<pb::ImportTransfersRequest> {
        let end = self.ends.iter().rev().find(|end| **end <= answered).unwrap();
        self.items[*end..].to_vec()
    }

    /// Each transfer is an entry of the account, once, in the order of the positions.
    async fn check(&self, world: &World, owner: &Customer, account: &str) {
        let (mut references, mut token) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/accounts/{account}/entries?page_size=1000&page_token={token}");
            let page = world.rest.get(&owner.token, &path).await.ok();
            for entry in page["entries"].as_array().unwrap() {
                references.push(entry["reference"].as_str().unwrap().to_owned());
            }
            page["nextPageToken"].as_str().unwrap().clone_into(&mut token);
            if token.is_empty() {
                break;
            }
        }
        let all: Vec<_> = (1..=self.items.len()).map(|position| position.to_string()).collect();
        assert_eq!(references, all);
    }
}

/// How many answers are taken before each cut; then the rest.
const CUTS: [usize; 6] = [0, 1, 40, 7, 150, 90];

/// Imports all of it by `attempt`, which sends what it is given and answers what it hears, until it has heard so much.
async fn import(
    world: &World,
    load: &Load,
    attempt: impl AsyncFn(&Wire, Vec<pb::ImportTransfersRequest>, mpsc::Sender<usize>),
) {
    let (all, mut answered) = (load.items.len(), 0);
    for cut in CUTS.into_iter().chain([all]) {
        let wire = Wire::to(world).await;
        let (sender, mut heard) = mpsc::channel(1);
        let rest = load.behind(answered);
        let listening = async {
            let mut answers = 0;
            while answers < cut && answered < all {
                answered = heard.recv().await.expect("the stream goes on");
                answers += 1;
            }
            wire.cut();
        };
        let attempt = attempt(&wire, rest, sender);
        tokio::pin!(attempt, listening);
        let both = async {
            tokio::select! {
                () = &mut listening => {}
                () = &mut attempt => listening.await,
            }
        };
        tokio::time::timeout(PATIENCE, both).await.expect("the stream stands still");
    }
    assert_eq!(answered, all);
}

async fn an_import_over_grpc_goes_on_where_it_was_cut(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 1_000).await;
    let load = Load::new(&from, &to);
    let authority = &world.mesh.pki().server_authority.certificate;
    let staff = world.staff();
    import(&world, &load, async |wire, items, heard| {
        let channel = channel(wire.port, "localhost", authority, None);
        let mut client = LedgerServiceClient::new(calling(channel, Some(&staff)));
        let sent = stream::iter(items).chain(stream::pending());
        let Ok(answers) = client.import_transfers(sent).await else { return };
        let mut answers = answers.into_inner();
        while let Ok(Some(answer)) = answers.message().await {
            let became = answer.result.unwrap().result.unwrap();
            assert!(matches!(became, Became::Transfer(_)), "{became:?}");
            if heard.send(usize::try_from(answer.position).unwrap()).await.is_err() {
                return;
            }
        }
    })
    .await;
    load.check(&world, &customer, &to).await;
}

async fn an_import_over_rest_goes_on_where_it_was_cut(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 1_000).await;
    let load = Load::new(&from, &to);
    let authority = &world.mesh.pki().server_authority.certificate;
    let staff = world.staff();
    import(&world, &load, async |wire, items, heard| {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(authority, None))
            .https_only()
            .enable_http2()
            .build();
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
        let lines = stream::iter(items).map(|item| Full::new(Bytes::from(format!("{}\n", line(&item)))));
        let body = StreamBody::new(lines.flat_map(BodyStream::new).chain(stream::pending()));
        let request = Request::post(format!("https://localhost:{}/v1/transfers:import", wire.port))
            .header("authorization", format!("Bearer {staff}"))
            .header("content-type", "application/x-ndjson")
            .header("accept", "application/x-ndjson")
            .body(body)
            .unwrap();
        let Ok(response) = client.request(request).await else { return };
        assert_eq!(response.status(), 200);
        let (mut body, mut text) = (response.into_body(), String::new());
        while let Some(Ok(frame)) = body.frame().await {
            text.push_str(std::str::from_utf8(frame.data_ref().map_or(&[], |bytes| bytes)).unwrap());
            while let Some((line, rest)) = text.split_once('\n') {
                let answer: Value = serde_json::from_str(line).unwrap();
                assert!(answer["result"]["transfer"].is_object(), "{answer}");
                let position = answer["position"].as_str().unwrap().parse().unwrap();
                text = rest.to_owned();
                if heard.send(position).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    load.check(&world, &customer, &to).await;
}

/// The message as a line of JSON.
fn line(item: &pb::ImportTransfersRequest) -> Value {
    let transfer = item.transfer.as_ref().unwrap();
    let Some(pb::create_transfer_request::Credit::CreditAccountId(to)) = &transfer.credit else {
        unreachable!()
    };
    let mut body = keyed(&transfer.request_id, &transfer.debit_account_id, to, 1);
    body["reference"] = json!(transfer.reference);
    body["linked"] = json!(transfer.linked);
    json!({ "position": item.position.to_string(), "transfer": body })
}

async fn an_import_is_for_staff(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 100).await;
    let load = Load::new(&from, &to);
    let mut refused = BTreeMap::new();
    for (name, token) in [("customer", Some(customer.token.as_str())), ("nobody", None)] {
        let mut client = LedgerServiceClient::new(world.public(token));
        let status = client.import_transfers(stream::iter(load.items.clone())).await.unwrap_err();
        refused.insert(name, (status.code(), e2e::grpc::reason(&status)));
    }
    let expect = [
        ("customer", (tonic::Code::PermissionDenied, "SCOPE_MISSING".to_owned())),
        ("nobody", (tonic::Code::Unauthenticated, "TOKEN_MISSING".to_owned())),
    ];
    assert_eq!(refused, BTreeMap::from(expect));
    assert_eq!(world.balance(&customer.token, &from).await, 100);
}
