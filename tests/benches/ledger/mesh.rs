//! The ledger as its callers reach it: through the edge, by gRPC and by REST, in the local mesh with release binaries. The mesh
//! has no PostgreSQL of its own but uses the benchmark's, and of the services only those that a transfer meets.

use std::sync::Arc;

use dev::{Mesh, Part, Setup, TokenRequest};
use e2e::grpc::{Calling, calling, channel};
use e2e::rest::{Rest, Version, tls};
use futures::StreamExt as _;
use proto::edge::v1 as edge;
use proto::edge::v1::audit_service_server::{AuditService, AuditServiceServer};
use proto::ledger::v1 as pb;
use proto::ledger::v1::create_transfer_request::Credit;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use serde_json::json;
use svc_ledger::config;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::api::{CUSTOMERS, account, customer, owner};
use crate::load::Transfer;
use crate::spread::{Pairs, Spread};

/// How many requests share a connection: what the edge allows.
const STREAMS: usize = 100;
/// Connections: as many as the largest number in flight needs.
const CONNECTIONS: usize = 20;

/// The mesh and its callers' connections.
pub struct World {
    pub mesh: Mesh,
    tokens: Vec<String>,
    grpc: Vec<tonic::transport::Channel>,
    rest: Vec<Rest>,
}

impl World {
    /// Starts the mesh over a database in which the accounts are there already.
    pub async fn start(store: &config::Store) -> Self {
        let keeper = keep_events().await;
        let parts = [Part::Redis, Part::Issuer, Part::Cache, Part::Ledger, Part::Edge];
        let setup = Setup::temporary(&e2e::world::binaries()).unwrap().only(&parts);
        let setup = setup.configure(Part::Ledger, &ledger_toml(store)).unwrap();
        let setup = setup.configure(Part::Edge, &edge_toml(keeper)).unwrap();
        let mesh = Mesh::start(setup).await.unwrap();
        let token = |number| {
            let request = TokenRequest::new(&customer(number)).scopes(&["payments.write"]);
            mesh.issuer().issue(&request.customer(&customer(number))).unwrap()
        };
        let authority = &mesh.pki().server_authority.certificate;
        let url = mesh.public_url();
        Self {
            tokens: (0..CUSTOMERS).map(token).collect(),
            grpc: (0..CONNECTIONS)
                .map(|_| channel(mesh.ports().public, "localhost", authority, None))
                .collect(),
            rest: (0..CONNECTIONS).map(|_| Rest::new(&url, tls(authority, None), Version::Http2)).collect(),
            mesh,
        }
    }

    /// Transfers by gRPC.
    pub fn by_grpc(&self, spread: Spread) -> Transfer {
        let client = |channel: &tonic::transport::Channel| -> Vec<LedgerServiceClient<Calling>> {
            let of = |token: &String| LedgerServiceClient::new(calling(channel.clone(), Some(token)));
            self.tokens.iter().map(of).collect()
        };
        let clients: Arc<Vec<Vec<_>>> = Arc::new(self.grpc.iter().map(client).collect());
        let pairs = Arc::new(Pairs::new(spread));
        Arc::new(move |caller| {
            let (debit, credit) = pairs.draw();
            let mut client = clients[caller / STREAMS][owner(debit)].clone();
            Box::pin(async move {
                let request = pb::CreateTransferRequest {
                    request_id: Uuid::now_v7().to_string(),
                    debit_account_id: account(debit).to_string(),
                    credit: Some(Credit::CreditAccountId(account(credit).to_string())),
                    amount: Some(pb::Money {
                        currency_code: "EUR".to_owned(),
                        minor_units: rand::random_range(1..=1_000),
                    }),
                    ..pb::CreateTransferRequest::default()
                };
                client.create_transfer(request).await.unwrap();
            })
        })
    }

    /// Transfers by REST over HTTP/2.
    pub fn by_rest(&self, spread: Spread) -> Transfer {
        let (clients, tokens) = (Arc::new(self.rest.clone()), Arc::new(self.tokens.clone()));
        let pairs = Arc::new(Pairs::new(spread));
        Arc::new(move |caller| {
            let (clients, tokens) = (Arc::clone(&clients), Arc::clone(&tokens));
            let (debit, credit) = pairs.draw();
            Box::pin(async move {
                let body = json!({
                    "debitAccountId": account(debit),
                    "creditAccountId": account(credit),
                    "amount": { "currencyCode": "EUR", "minorUnits": rand::random_range(1..=1_000).to_string() },
                });
                let (client, token) = (&clients[caller / STREAMS], &tokens[owner(debit)]);
                let answer = client.post(token, "/v1/transfers", &Uuid::now_v7().to_string(), &body).await;
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
            })
        })
    }
}

fn ledger_toml(store: &config::Store) -> String {
    let store = toml::Table::try_from(store).unwrap();
    let mut whole = toml::Table::from_iter([("store".to_owned(), store.into())]);
    // Three quarters of the lines of a run would be its log.
    whole.insert("telemetry".to_owned(), toml::Table::from_iter([("log".to_owned(), "warn".into())]).into());
    whole.to_string()
}

/// Every request in flight may be one customer's. How long what is ready waits for a core says nothing here, where the load has
/// the same cores, so the edge is told not to refuse for it.
fn edge_toml(keeper: u16) -> String {
    format!(
        r#"
[listener.public]
in_flight_each_max = 2048

[overload]
queueing_ms = 0

[[upstream]]
name = "svc-ledger"
in_flight_max = 2048
pending_max = 2048
streams_max = 1000

[[upstream]]
name = "svc-docs"
addresses = ["127.0.0.1:{keeper}"]
tls = "off"
health = false
"#
    )
}

/// Keeps the audit's events as fast as they can be sent; returns its port. svc-docs would, by its own speed, decide how much of
/// the machine is left.
#[allow(clippy::disallowed_methods, reason = "lives as long as the benchmark")]
async fn keep_events() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        stream.inspect(|stream| {
            let _ = stream.set_nodelay(true);
        })
    });
    let server = tonic::transport::Server::builder().add_service(AuditServiceServer::new(Keeper));
    tokio::spawn(server.serve_with_incoming(incoming));
    port
}

struct Keeper;

#[tonic::async_trait]
impl AuditService for Keeper {
    async fn append(
        &self,
        _: Request<edge::AppendRequest>,
    ) -> Result<Response<edge::AppendResponse>, Status> {
        Ok(Response::new(edge::AppendResponse::default()))
    }
}
