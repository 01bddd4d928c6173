//! A customer with something of every kind to lose, a stranger who would like it, and a look at all of it.

use e2e::World;
use e2e::world::{Customer, transfer, unique};
use http::Method;
use serde_json::{Value, json};

/// The partner that the victim consents to. It is not the one that calls: that one has no consent.
pub const ANOTHER_PARTNER: &str = "another-pay";

/// A customer with two accounts, money, a pending transfer and a document, and a stranger with an account.
pub struct Victim {
    pub customer: Customer,
    pub account: String,
    pub other_account: String,
    /// Pending, between the victim's own accounts: the stranger is no party to it.
    pub transfer: String,
    pub document: String,
    /// To another partner than the one that calls.
    pub consent: String,
    pub stranger: Customer,
    pub stranger_account: String,
}

/// A customer who has it all.
pub async fn victim(world: &World) -> Victim {
    let (customer, stranger) = (world.customer().await, world.customer().await);
    let (account, other_account) =
        (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    let stranger_account = world.account(&stranger, "EUR", 0).await;
    world.fund(&account, "EUR", 10_000).await;
    let hold = transfer(&account, &other_account, "EUR", 100, true);
    let rest = &world.rest;
    let transfer =
        rest.post(&customer.token, "/v1/transfers", &unique("hold"), &hold).await.text("transferId");
    let title = json!({ "title": "private" });
    let document =
        rest.post(&customer.token, "/v1/documents", &unique("document"), &title).await.text("documentId");
    let put = rest
        .request(Method::PUT, &format!("/v1/documents/{document}/content"))
        .header("authorization", format!("Bearer {}", customer.token))
        .header("content-type", "text/plain");
    rest.send(put.body("private".into()).unwrap()).await.ok();
    let expire_time = chrono::Utc::now() + chrono::Duration::hours(1);
    let terms = json!({
        "partnerId": ANOTHER_PARTNER,
        "scopes": ["CONSENT_SCOPE_READ_ACCOUNT"],
        "expireTime": expire_time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    });
    let path = format!("/v1/accounts/{account}/consents");
    let consent = rest.post(&customer.token, &path, &unique("consent"), &terms).await.text("consentId");
    Victim { customer, account, other_account, transfer, document, consent, stranger, stranger_account }
}

impl Victim {
    /// All that the victim and the stranger have.
    pub async fn holdings(&self, world: &World) -> Vec<(String, Value)> {
        let Self { customer, stranger, document, transfer, .. } = self;
        let mut paths = vec![
            (customer, format!("/v1/documents/{document}")),
            (customer, format!("/v1/transfers/{transfer}")),
        ];
        for who in [customer, stranger] {
            paths.push((who, format!("/v1/customers/{}", who.id)));
            paths.push((who, format!("/v1/customers/{}/accounts", who.id)));
            paths.push((who, "/v1/transfers".to_owned()));
            paths.push((who, "/v1/documents".to_owned()));
        }
        let accounts =
            [(customer, &self.account), (customer, &self.other_account), (stranger, &self.stranger_account)];
        for (who, account) in accounts {
            paths.push((who, format!("/v1/accounts/{account}/balance")));
            paths.push((who, format!("/v1/accounts/{account}/entries")));
            paths.push((who, format!("/v1/accounts/{account}/consents")));
        }
        let looks = paths.into_iter().map(|(who, path)| async move {
            let mut seen = world.rest2.get(&who.token, &path).await.ok();
            // How far the whole ledger is, which others move.
            if let Some(balance) = seen.as_object_mut().filter(|seen| seen.contains_key("available")) {
                balance.retain(|name, _| !matches!(name.as_str(), "seq" | "bookTime"));
            }
            (path, seen)
        });
        let mut seen = futures::future::join_all(looks).await;
        let path = format!("/v1/documents/{document}/content");
        let content = world.rest2.get(&customer.token, &path).await;
        assert!(content.status.is_success(), "{content:?}");
        seen.push((path, Value::from(String::from_utf8_lossy(&content.body).into_owned())));
        seen
    }
}
