//! The demo data: two customers with accounts, money, some transfers and a document, made as anybody would make them, over the
//! public REST listener. Every step has a fixed idempotency key, so one that broke off half way is simply done again; once all
//! are done a file says so and no later start asks again.

use crate::client::Rest;
use crate::issuer::{Issuer, Person};
use crate::mesh::Mesh;
use crate::state;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the demo data is called, for whoever wants to show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Demo {
    pub alice: String,
    pub bob: String,
    pub alice_current: String,
    pub alice_savings: String,
    pub bob_current: String,
    pub document: String,
}

/// An opening that was interrupted is taken up again within seconds.
const OPENING_LONGEST: Duration = Duration::from_secs(20);

const LETTER: &[u8] =
    b"Dear Alice,\n\nwelcome to Causeway. Your accounts are open and your money has arrived.\n";

/// The demo data of a running mesh, made now if this is the first time.
pub async fn load(mesh: &Mesh) -> Result<Demo> {
    let path = marker(mesh);
    if let Ok(text) = std::fs::read(&path) {
        return serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()));
    }
    let rest = Rest::new(&mesh.public_url(), &mesh.pki().server_authority.certificate)?;
    let demo = Maker { rest, issuer: mesh.issuer() }.make().await?;
    state::write_private(&path, serde_json::to_vec_pretty(&demo)?)?;
    Ok(demo)
}

fn marker(mesh: &Mesh) -> PathBuf {
    mesh.folder().join("demo.json")
}

struct Maker<'a> {
    rest: Rest,
    issuer: &'a Issuer,
}

impl Maker<'_> {
    async fn make(&self) -> Result<Demo> {
        let alice = self.customer("alice", "Alice Arden").await?;
        let bob = self.customer("bob", "Bob Bailey").await?;
        let alice_current = self.account("alice", &alice, "Current account", "alice-current").await?;
        let alice_savings = self.account("alice", &alice, "Savings", "alice-savings").await?;
        let bob_current = self.account("bob", &bob, "Current account", "bob-current").await?;

        self.fund(&alice_current, 250_000, "Opening deposit", "fund-alice").await?;
        self.fund(&bob_current, 120_000, "Opening deposit", "fund-bob").await?;

        let payments = [
            ("alice", &alice_current, &bob_current, 4_250, "Dinner on Friday"),
            ("bob", &bob_current, &alice_current, 1_999, "Concert ticket"),
            ("alice", &alice_current, &alice_savings, 50_000, "Rainy day"),
            ("alice", &alice_current, &bob_current, 700, "Coffee"),
        ];
        for (number, (payer, from, to, cents, reference)) in payments.into_iter().enumerate() {
            let body = transfer(from, to, cents, reference, false);
            self.post(payer, "/v1/transfers", &format!("pay-{number}"), &body).await?;
        }
        let document = self.document().await?;
        Ok(Demo { alice, bob, alice_current, alice_savings, bob_current, document })
    }

    /// A member of staff takes a customer on; from then on the issuer knows who the person is.
    async fn customer(&self, name: &str, display_name: &str) -> Result<String> {
        let body = json!({ "displayName": display_name, "email": format!("{name}@example.com") });
        let customer = self.post("staff", "/v1/customers", &format!("customer-{name}"), &body).await?;
        let id = text(&customer, "customerId")?;
        self.issuer.set_customer(name, &id)?;
        Ok(id)
    }

    async fn account(&self, person: &str, customer: &str, name: &str, key: &str) -> Result<String> {
        let body = json!({ "currencyCode": "EUR", "displayName": name });
        let path = format!("/v1/customers/{customer}/accounts");
        let account = text(&self.post(person, &path, &format!("account-{key}"), &body).await?, "accountId")?;
        self.active(person, &account).await?;
        Ok(account)
    }

    /// An account that is still being opened takes no money, and the ledger would remember that refusal for ever.
    async fn active(&self, person: &str, account: &str) -> Result<()> {
        let deadline = Instant::now() + OPENING_LONGEST;
        while Instant::now() < deadline {
            let answer = self.rest.get(&self.token(person)?, &format!("/v1/accounts/{account}")).await?;
            if answer["state"] == "ACCOUNT_STATE_ACTIVE" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("account {account} is not active after {} s", OPENING_LONGEST.as_secs())
    }

    /// Money enters by four eyes: one member of staff asks, another posts.
    async fn fund(&self, account: &str, cents: i64, reference: &str, key: &str) -> Result<()> {
        let body = transfer("settlement-EUR", account, cents, reference, true);
        let pending = self.post("staff", "/v1/transfers", key, &body).await?;
        let path = format!("/v1/transfers/{}:post", text(&pending, "transferId")?);
        self.post("staff2", &path, &format!("{key}-post"), &json!({})).await.map(drop)
    }

    async fn document(&self) -> Result<String> {
        let body = json!({ "title": "Welcome letter" });
        let document = self.post("alice", "/v1/documents", "document-welcome", &body).await?;
        let id = text(&document, "documentId")?;
        let path = format!("/v1/documents/{id}/content");
        self.rest.put(&self.token("alice")?, &path, "text/plain; charset=utf-8", LETTER).await?;
        Ok(id)
    }

    async fn post(&self, person: &str, path: &str, key: &str, body: &Value) -> Result<Value> {
        self.rest.post(&self.token(person)?, path, &format!("demo-{key}"), body).await
    }

    fn token(&self, person: &str) -> Result<String> {
        let person = Person::named(person).with_context(|| format!("nobody is called {person}"))?;
        let request =
            self.issuer.request_for(person).with_context(|| format!("{} is no customer", person.name))?;
        self.issuer.issue(&request)
    }
}

fn transfer(from: &str, to: &str, cents: i64, reference: &str, pending: bool) -> Value {
    json!({
        "debitAccountId": from,
        "creditAccountId": to,
        // Proto3 JSON writes 64-bit integers as strings.
        "amount": { "currencyCode": "EUR", "minorUnits": cents.to_string() },
        "reference": reference,
        "pending": pending,
    })
}

fn text(answer: &Value, field: &str) -> Result<String> {
    let value = answer[field].as_str().with_context(|| format!("the answer has no {field}: {answer}"))?;
    Ok(value.to_owned())
}
