//! Payments to other banks: a hold towards the bank's settlement account until the partner that carries them out says what became of them,
//! over mutual TLS and for itself.

use std::sync::Arc;

use dev::TokenRequest;
use e2e::World;
use e2e::grpc::{Calling, calling, channel, reason};
use e2e::world::{Customer, minor_units, unique};
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::{
    GetBalanceRequest, ListTransfersRequest, PostTransferRequest, TransferState, VoidTransferRequest,
};
use serde_json::json;
use tonic::Code;

crate::tests![a_payment_to_another_bank_is_held_until_its_rail_partner_posts_or_voids_it];

/// The registry's example of a French IBAN.
const IBAN: &str = "FR1420041010050500013M02606";

/// The partner of the mesh, acting for itself.
fn rail(world: &World) -> LedgerServiceClient<Calling> {
    let pki = world.mesh.pki();
    let token = TokenRequest::new(&unique("rail")).scopes(&["accounts.read", "payments.write"]);
    let token = world.token(&token.bound_to(&pki.partner_thumbprint));
    let identity = Some((pki.partner.certificate.as_path(), pki.partner.key.as_path()));
    let authority = &pki.server_authority.certificate;
    let channel = channel(world.mesh.ports().partner, "localhost", authority, identity);
    LedgerServiceClient::new(calling(channel, Some(&token)))
}

async fn pay(world: &World, customer: &Customer, from: &str, minor_units: i64, reference: &str) -> String {
    let body = json!({
        "debitAccountId": from,
        "externalPayee": { "iban": IBAN, "name": "Jeanne Martin" },
        "amount": { "currencyCode": "EUR", "minorUnits": minor_units.to_string() },
        "reference": reference,
    });
    let held = world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await;
    assert_eq!(held.status, 201, "{held:?}");
    assert_eq!(held.json()["state"], "TRANSFER_STATE_PENDING");
    held.text("transferId")
}

async fn a_payment_to_another_bank_is_held_until_its_rail_partner_posts_or_voids_it(world: Arc<World>) {
    let customer = world.customer().await;
    let (from, other) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 1_000).await;
    let reference = unique("invoice");
    let carried = pay(&world, &customer, &from, 300, &reference).await;
    let returned = pay(&world, &customer, &from, 200, &reference).await;
    let balance = async || {
        let read = world.rest.get(&customer.token, &format!("/v1/accounts/{from}/balance")).await.ok();
        (minor_units(&read["posted"]), minor_units(&read["available"]))
    };
    assert_eq!(balance().await, (1_000, 500));

    // It finds by the settlement account what it has to carry out, and whom to pay.
    let mut rail = rail(&world);
    let waiting = ListTransfersRequest {
        account_id: "settlement-EUR".to_owned(),
        state: TransferState::Pending.into(),
        reference: reference.clone(),
        ..Default::default()
    };
    let mut found = Vec::new();
    let mut request = waiting;
    loop {
        let page = rail.list_transfers(request.clone()).await.unwrap().into_inner();
        found.extend(page.transfers);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let ids: Vec<&str> = found.iter().map(|transfer| transfer.transfer_id.as_str()).collect();
    assert_eq!(ids, [returned.as_str(), carried.as_str()], "newest first");
    let payee = found[0].external_payee.as_ref().unwrap();
    assert_eq!((payee.iban.as_str(), payee.name.as_str()), (IBAN, "Jeanne Martin"));

    let post = |transfer_id: &str| PostTransferRequest {
        transfer_id: transfer_id.to_owned(),
        request_id: unique("post"),
        ..Default::default()
    };
    rail.post_transfer(post(&carried)).await.unwrap();
    let void = VoidTransferRequest {
        transfer_id: returned.clone(),
        request_id: unique("void"),
        ..Default::default()
    };
    rail.void_transfer(void).await.unwrap();
    assert_eq!(balance().await, (700, 700));

    // What is none of its business: customers' accounts, and holds between them.
    let read = GetBalanceRequest { account_id: from.clone(), ..Default::default() };
    let refused = rail.get_balance(read).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    let body = e2e::world::transfer(&from, &other, "EUR", 50, true);
    let inside = world.rest.post(&customer.token, "/v1/transfers", &unique("hold"), &body).await;
    let refused = rail.post_transfer(post(&inside.text("transferId"))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));

    // The customer cannot say itself that it has paid.
    let again = pay(&world, &customer, &from, 10, &reference).await;
    let path = format!("/v1/transfers/{again}:post");
    let refused = world.rest.post(&customer.token, &path, &unique("post"), &json!({})).await;
    refused.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
}
