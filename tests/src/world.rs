//! A running mesh and the people in it. Tests share one world: each makes customers and accounts of its own, and none counts on
//! being alone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use chassis::transaction_token::Signer;
use dev::part::Part;
use dev::{Mesh, Setup, TokenRequest};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::grpc::{self, Calling};
use crate::rest::{self, Rest, Version};

/// What a customer's token carries.
pub const CUSTOMER_SCOPES: [&str; 5] =
    ["accounts.read", "accounts.write", "payments.write", "documents.read", "documents.write"];
/// What a member of staff's token carries.
pub const STAFF_SCOPES: [&str; 2] = ["staff.read", "staff.write"];

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A key or a name nobody else in this process has.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// See the module.
pub struct World {
    pub mesh: Mesh,
    /// HTTP/1.1 to the public listener.
    pub rest: Rest,
    /// HTTP/2 to the public listener.
    pub rest2: Rest,
}

/// A customer and the token they call with.
#[derive(Clone, Debug)]
pub struct Customer {
    pub id: String,
    pub token: String,
}

/// Where cargo put the binaries this process was built with.
#[must_use]
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test>
    own.ancestors().nth(2).unwrap().to_owned()
}

impl World {
    /// The transaction token that the edge would give a workload with a call of this caller's.
    #[must_use]
    pub fn transaction_token(&self, workload: Part, caller: &chassis::Caller) -> http::HeaderValue {
        let keys = &self.mesh.pki().transaction_keys;
        let domain = dev::pki::TRUST_DOMAIN;
        let signer = Signer::load(Some(keys), domain, Duration::from_secs(60)).unwrap();
        let audience = format!("spiffe://{domain}/{workload}");
        signer.mint(caller, &audience, SystemTime::now(), None).unwrap().value
    }

    /// Starts a mesh of its own on free ports; `configure` may lay TOML over a workload's configuration.
    pub async fn start(configure: impl FnOnce(Setup) -> anyhow::Result<Setup>) -> anyhow::Result<Self> {
        Ok(Self::over(Mesh::start(configure(Setup::temporary(&binaries())?)?).await?))
    }

    /// The clients of a running mesh.
    #[must_use]
    pub fn over(mesh: Mesh) -> Self {
        let base = mesh.public_url();
        let authority = mesh.pki().server_authority.certificate.clone();
        Self {
            rest: Rest::new(&base, rest::tls(&authority, None), Version::Http1),
            rest2: Rest::new(&base, rest::tls(&authority, None), Version::Http2),
            mesh,
        }
    }

    #[must_use]
    pub fn token(&self, request: &TokenRequest) -> String {
        self.mesh.issuer().issue(request).unwrap()
    }

    #[must_use]
    pub fn staff(&self) -> String {
        self.token(&TokenRequest::new("staff-1").scopes(&STAFF_SCOPES))
    }

    /// Another member of staff, the second pair of eyes.
    #[must_use]
    pub fn staff2(&self) -> String {
        self.token(&TokenRequest::new("staff-2").scopes(&STAFF_SCOPES))
    }

    /// A new customer, taken on by staff over REST.
    pub async fn customer(&self) -> Customer {
        let name = unique("customer");
        let body = json!({ "displayName": format!("Test {name}"), "email": format!("{name}@example.com") });
        let id = self.rest.post(&self.staff(), "/v1/customers", &name, &body).await.text("customerId");
        let token = self.token(&TokenRequest::new(&name).scopes(&CUSTOMER_SCOPES).customer(&id));
        Customer { id, token }
    }

    /// A new active account with an overdraft limit in minor units; only staff may grant one.
    pub async fn account(&self, customer: &Customer, currency: &str, overdraft: i64) -> String {
        let token = if overdraft == 0 { customer.token.clone() } else { self.staff() };
        let body = json!({
            "currencyCode": currency,
            "displayName": "Test",
            "overdraftLimitMinorUnits": overdraft.to_string(),
        });
        let path = format!("/v1/customers/{}/accounts", customer.id);
        let account = self.rest.post(&token, &path, &unique("open"), &body).await.ok();
        let id = account["accountId"].as_str().unwrap().to_owned();
        let active = || async {
            let account = self.rest.get(&customer.token, &format!("/v1/accounts/{id}")).await;
            account.status.is_success() && account.json()["state"] == "ACCOUNT_STATE_ACTIVE"
        };
        eventually("the account is active", Duration::from_secs(20), active).await;
        id
    }

    /// Puts money on an account, by four eyes.
    pub async fn fund(&self, account: &str, currency: &str, minor_units: i64) {
        let body = transfer(&format!("settlement-{currency}"), account, currency, minor_units, true);
        let pending =
            self.rest.post(&self.staff(), "/v1/transfers", &unique("fund"), &body).await.text("transferId");
        let path = format!("/v1/transfers/{pending}:post");
        self.rest.post(&self.staff2(), &path, &unique("post"), &json!({})).await.ok();
    }

    /// The posted balance in minor units.
    pub async fn balance(&self, token: &str, account: &str) -> i64 {
        let balance = self.rest.get(token, &format!("/v1/accounts/{account}/balance")).await.ok();
        minor_units(&balance["posted"])
    }

    /// What a workload's admin listener answers: the status and the page.
    pub async fn admin(&self, part: Part, path: &str) -> (u16, String) {
        let port = self.mesh.admin_port(part).unwrap();
        let uri: http::Uri = format!("http://127.0.0.1:{port}{path}").parse().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let response = client.get(uri).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// gRPC to the public listener.
    #[must_use]
    pub fn public(&self, token: Option<&str>) -> Calling {
        let authority = &self.mesh.pki().server_authority.certificate;
        grpc::calling(grpc::channel(self.mesh.ports().public, "localhost", authority, None), token)
    }

    /// gRPC to the mesh listener with the certificate of a workload, as that workload's own edge channel would, but with
    /// nothing forwarded.
    #[must_use]
    pub fn mesh_as(&self, workload: Part) -> Channel {
        let identity = self.mesh.pki().workload(workload);
        let authority = &self.mesh.pki().workload_authority.certificate;
        let identity: (&Path, &Path) = (&identity.certificate, &identity.key);
        grpc::channel(self.mesh.ports().mesh, "edge.causeway.internal", authority, Some(identity))
    }
}

/// The body of a transfer.
#[must_use]
pub fn transfer(from: &str, to: &str, currency: &str, minor_units: i64, pending: bool) -> Value {
    json!({
        "debitAccountId": from,
        "creditAccountId": to,
        "amount": { "currencyCode": currency, "minorUnits": minor_units.to_string() },
        "reference": "end to end",
        "pending": pending,
    })
}

/// The minor units of a Money in JSON, where zero may be left out.
#[must_use]
pub fn minor_units(money: &Value) -> i64 {
    money["minorUnits"].as_str().map_or(0, |text| text.parse().unwrap())
}

/// Waits until `condition` holds, at most `longest`.
pub async fn eventually<F>(what: &str, longest: Duration, condition: impl Fn() -> F)
where
    F: Future<Output = bool>,
{
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < longest, "not within {longest:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
