//! Where a test runs: a DynamoDB engine on a file of its own, a listener that stands for the edge with the neighbours
//! behind it, certificates for both sides, and as many processes of the service as the test starts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::run::{Service as _, Start};
use chassis::seal::Seal;
use chassis::trace::TraceContext;
use chassis::{
    Call, Caller, Deadline, Drain, EdgeChannel, Health, Identity, Metrics, Partner, Principal, Subject,
};
use dynoxide::actions::scan::ScanRequest;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Request;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity as Pem, Server, ServerTlsConfig};

use super::neighbours::Neighbours;
use crate::config::Config;
use crate::domain::UnixMillis;
use crate::ledger::Ledger;
use crate::rpc::Rpc;
use crate::{Accounts, clock, timestamp};

const DOMAIN: &str = "causeway.test";

/// What others left behind is found at once.
pub const SWEEPING: &str = "opening = { sweep_ms = 20, grace_ms = 0 }\nchanging = { sweep_ms = 20, grace_ms = 0 }\ngranting = { sweep_ms = 20, grace_ms = 0 }";
/// Nobody drives a work on but the RPC that asked.
pub const NOT_SWEEPING: &str = "opening = { sweep_ms = 3600000, grace_ms = 3600000 }\nchanging = { sweep_ms = 3600000, grace_ms = 3600000 }\ngranting = { sweep_ms = 3600000, grace_ms = 3600000 }";

/// See the module.
pub struct Place {
    directory: TempDir,
    /// The edge ends with it.
    drain: Drain,
    engine: Engine,
    edge: String,
    pub neighbours: Neighbours,
}

/// A DynamoDB engine that can be stopped and started again on the same file and address.
struct Engine {
    address: SocketAddr,
    drain: Drain,
    database: dynoxide::Database,
}

/// One running service.
pub struct Process {
    pub rpc: Rpc,
    pub health: Health,
    /// The way to the ledger alone, to stop between two steps.
    pub ledger: Ledger,
    drain: Drain,
}

impl Place {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let drain = Drain::default();
        let neighbours = Neighbours::default();
        std::fs::write(directory.path().join("credentials"), "test\ntest\n").expect("written");
        std::fs::write(directory.path().join("email.key"), "0123456789abcdef0123456789abcdef\n")
            .expect("written");
        let key = chassis::seal::generate().expect("random");
        std::fs::write(directory.path().join("payee.key"), key).expect("written");
        let engine = Engine::start(directory.path(), "127.0.0.1:0".parse().expect("an address")).await;
        let edge = edge(directory.path(), &drain, neighbours.clone()).await;
        Self { directory, drain, engine, edge, neighbours }
    }

    /// The configuration of a process, with more tables, inline.
    pub fn config(&self, more: &str) -> Config {
        let (directory, engine, edge) = (self.directory.path().display(), self.engine.address, &self.edge);
        let text = format!(
            r#"
            {more}
            [server]
            listen = "127.0.0.1:0"
            admin = "127.0.0.1:0"
            edge_keys = "{directory}/edge-keys.pem"
            [identity]
            certificate = "{directory}/svc-accounts.pem"
            key = "{directory}/svc-accounts.key"
            trust_bundle = "{directory}/ca.pem"
            trust_domain = "{DOMAIN}"
            [edge]
            addresses = ["{edge}"]
            [store]
            endpoint = "http://{engine}"
            region = "eu-central-1"
            table = "accounts"
            create_table = true
            credentials_file = "{directory}/credentials"
            email_key_file = "{directory}/email.key"
            probe_ms = 50
            [bank]
            iban_country = "DE"
            iban_bank_code = "50010517"
            [payee]
            keys = "{directory}/payee.key"
            "#
        );
        toml::from_str(&text).expect("a configuration")
    }

    /// A process that sweeps up at once what others left behind.
    pub async fn start(&self) -> Process {
        self.start_with(SWEEPING).await
    }

    /// A process that leaves everything to the RPC that asked.
    pub async fn start_without_sweep(&self) -> Process {
        self.start_with(NOT_SWEEPING).await
    }

    pub async fn start_with(&self, more: &str) -> Process {
        self.start_from(self.config(more)).await
    }

    pub async fn start_from(&self, config: Config) -> Process {
        let drain = Drain::default();
        let identity = Identity::load(&config.identity).expect("an identity");
        let edge = EdgeChannel::start(&config.edge, &identity, &drain).expect("a channel");
        let ledger = Ledger::new(edge.clone(), Duration::from_secs(5));
        let health = Health::default();
        let start = Start { edge, drain: drain.clone(), health: health.clone(), metrics: Metrics::default() };
        let accounts = Accounts::start(&config, start).await.expect("a service");
        Process { rpc: accounts.rpc, health, ledger, drain }
    }

    /// Takes the store away until the next [`Place::start_engine`].
    pub async fn stop_engine(&self) {
        self.engine.drain.stop();
        assert!(self.engine.drain.finished(Duration::from_secs(10)).await, "the engine stops");
    }

    /// Starts the engine again where it was.
    pub async fn start_engine(&mut self) {
        self.engine = Engine::start(self.directory.path(), self.engine.address).await;
    }

    /// What opens the tokens of payees, as svc-ledger does.
    pub fn payee_seal(&self) -> Seal {
        Seal::load(&self.directory.path().join("payee.key"), crate::PAYEE).expect("keys")
    }

    /// Everything in the table, as the engine has it.
    pub fn items(&self) -> Vec<dynoxide::Item> {
        let everything = ScanRequest { table_name: "accounts".to_owned(), ..ScanRequest::default() };
        self.engine.database.scan(everything).expect("scanned").items.unwrap_or_default()
    }
}

impl Engine {
    async fn start(directory: &Path, address: SocketAddr) -> Self {
        let file = directory.join("accounts.sqlite");
        let database = dynoxide::Database::new(file.to_str().expect("UTF-8")).expect("a database");
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let drain = Drain::default();
        let serving = dynoxide::server::serve_with_shutdown(listener, database.clone(), drain.stopping());
        drain.spawn("engine", serving);
        Self { address, drain, database }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.engine.drain.stop();
        self.drain.stop();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.drain.stop();
    }
}

async fn edge(directory: &Path, drain: &Drain, neighbours: Neighbours) -> String {
    let mut root = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = root.self_signed(&key).expect("signed").pem();
    std::fs::write(directory.join("ca.pem"), &ca).expect("written");
    let issuer = Issuer::new(root, key);

    let (certificate, key) = workload(&issuer, "svc-accounts");
    std::fs::write(directory.join("svc-accounts.pem"), certificate).expect("written");
    std::fs::write(directory.join("svc-accounts.key"), key).expect("written");

    let (certificate, key) = workload(&issuer, "edge");
    let tls = ServerTlsConfig::new()
        .identity(Pem::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(ca));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = Server::builder().tls_config(tls).expect("tls");
    let stopping = drain.stopping();
    drain.spawn("edge", async move {
        let incoming = TcpIncoming::from(listener);
        server.serve_with_incoming_shutdown(neighbours, incoming, stopping).await
    });
    address.to_string()
}

fn workload(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![format!("{name}.{DOMAIN}")]).expect("parameters");
    let spiffe = format!("spiffe://{DOMAIN}/{name}").try_into().expect("ascii");
    params.subject_alt_names.push(SanType::URI(spiffe));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, issuer).expect("signed").pem(), key.serialize_pem())
}

/// Waits for a condition, for a few seconds at most.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), holds).await.is_ok(), "{what}");
}

fn person(id: &str, customer_id: Option<&str>, scopes: &[&str]) -> Subject {
    Subject {
        issuer: "https://issuer.test".to_owned(),
        id: id.to_owned(),
        customer_id: customer_id.map(ToOwned::to_owned),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

fn subject(id: &str, customer_id: Option<&str>, scopes: &[&str]) -> Caller {
    Caller { principal: Principal::Subject(person(id, customer_id, scopes)), service: None }
}

pub fn staff() -> Caller {
    subject("sam", None, &["staff.read", "staff.write"])
}

pub fn owner(customer_id: &str) -> Caller {
    subject("owner", Some(customer_id), &["accounts.read", "accounts.write"])
}

/// A partner for a customer, whose token says that the customer is staff too.
pub fn partner(id: &str, customer_id: Option<&str>) -> Caller {
    let scopes = ["accounts.read", "accounts.write", "staff.read", "staff.write"];
    let subject = customer_id.map(|customer_id| person("owner", Some(customer_id), &scopes));
    Caller { principal: Principal::Partner(Partner { id: id.to_owned(), subject }), service: None }
}

pub fn service(name: &str) -> Caller {
    Caller { principal: Principal::Service, service: Some(name.to_owned()) }
}

/// A request as the chassis hands it to a handler.
pub fn request<T>(caller: &Caller, message: T) -> Request<T> {
    request_within(caller, Duration::from_secs(10), message)
}

pub fn request_within<T>(caller: &Caller, budget: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Call {
        caller: Arc::new(caller.clone()),
        deadline: Deadline::after(budget),
        transaction_id: "transaction".into(),
        hops: 1,
        trace: TraceContext::root(),
        token: Some(http::HeaderValue::from_static("of the call")),
    });
    request
}

pub fn new_customer(request_id: &str, email: &str) -> pb::CreateCustomerRequest {
    pb::CreateCustomerRequest {
        request_id: request_id.to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        email: email.to_owned(),
    }
}

pub fn new_account(customer_id: &str, request_id: &str) -> pb::OpenAccountRequest {
    pb::OpenAccountRequest {
        customer_id: customer_id.to_owned(),
        request_id: request_id.to_owned(),
        currency_code: "EUR".to_owned(),
        display_name: "Everyday".to_owned(),
        overdraft_limit_minor_units: 0,
    }
}

/// A consent to everything, for a day.
pub fn new_consent(account_id: &str, request_id: &str, partner_id: &str) -> pb::CreateConsentRequest {
    pb::CreateConsentRequest {
        account_id: account_id.to_owned(),
        request_id: request_id.to_owned(),
        partner_id: partner_id.to_owned(),
        scopes: vec![1, 2, 3, 4],
        per_transfer_max_minor_units: 1_000,
        total_max_minor_units: 5_000,
        expire_time: Some(in_millis(86_400_000)),
    }
}

/// A time from now on.
pub fn in_millis(millis: i64) -> prost_types::Timestamp {
    timestamp::of(UnixMillis::new(clock::now().get() + millis))
}

/// A customer with an ACTIVE account.
pub async fn opened(process: &Process, name: &str) -> pb::Account {
    let email = format!("{name}@example.com");
    let customer = process.rpc.create_customer(request(&staff(), new_customer(name, &email))).await;
    let customer = customer.expect("created").into_inner().customer_id;
    another(process, &customer, name).await
}

/// One more ACTIVE account of a customer.
pub async fn another(process: &Process, customer_id: &str, name: &str) -> pb::Account {
    let wanted = new_account(customer_id, &format!("open-{name}"));
    process.rpc.open_account(request(&staff(), wanted)).await.expect("opened").into_inner()
}
