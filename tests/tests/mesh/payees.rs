//! Verification of payee, from the IBAN and the name to money that has arrived, without an account id in between.

use std::sync::Arc;

use e2e::World;
use e2e::world::{Customer, unique};
use serde_json::{Value, json};

crate::tests![
    a_payee_is_confirmed_and_paid_by_a_token,
    whoever_guesses_learns_nothing,
    a_forged_token_pays_nobody,
];

/// A customer who is paid: the account, its IBAN and the name.
async fn payee(world: &World) -> (Customer, String, String, String) {
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 0).await;
    let read = async |path: String, field: &str| world.rest.get(&world.staff(), &path).await.text(field);
    let iban = read(format!("/v1/accounts/{account}"), "iban").await;
    let name = read(format!("/v1/customers/{}", customer.id), "displayName").await;
    (customer, account, iban, name)
}

async fn look_up(world: &World, who: &Customer, iban: &str, name: &str) -> Value {
    let body = json!({ "iban": iban, "name": name });
    world.rest.post(&who.token, "/v1/accounts:lookup", &unique("lookup"), &body).await.ok()
}

fn payment(from: &str, token: &str) -> Value {
    json!({
        "debitAccountId": from,
        "payeeToken": token,
        "amount": { "currencyCode": "EUR", "minorUnits": "25" },
        "reference": "dinner",
    })
}

async fn a_payee_is_confirmed_and_paid_by_a_token(world: Arc<World>) {
    let payer = world.customer().await;
    let from = world.account(&payer, "EUR", 0).await;
    world.fund(&from, "EUR", 100).await;
    let (dora, to, iban, name) = payee(&world).await;

    let paper: Vec<String> =
        iban.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into()).collect();
    let found = look_up(&world, &payer, &paper.join(" "), &name.to_uppercase()).await;
    assert_eq!((&found["payeeMatch"], &found["payeeName"]), (&json!("PAYEE_MATCH_MATCH"), &json!("")));
    assert_eq!(found["currencyCode"], "EUR");
    let token = found["payeeToken"].as_str().unwrap();
    assert!(!found.to_string().contains(&to), "the account's id is nobody's business");

    let key = unique("pay");
    let paid = world.rest.post(&payer.token, "/v1/transfers", &key, &payment(&from, token)).await.ok();
    assert_eq!(paid["creditAccountId"], "", "{paid}");
    let another = look_up(&world, &payer, &iban, &name).await;
    let another = another["payeeToken"].as_str().unwrap();
    assert_ne!(another, token);
    let again = world.rest.post(&payer.token, "/v1/transfers", &key, &payment(&from, another)).await.ok();
    assert_eq!(again, paid, "another token of the same payee is the same payment");
    assert_eq!(world.balance(&payer.token, &from).await, 75);
    assert_eq!(world.balance(&dora.token, &to).await, 25);
}

async fn whoever_guesses_learns_nothing(world: Arc<World>) {
    let payer = world.customer().await;
    let (_, _, iban, _) = payee(&world).await;
    let stranger = look_up(&world, &payer, &iban, "Somebody Else").await;
    assert_eq!(stranger["payeeMatch"], "PAYEE_MATCH_NO_MATCH");
    // Of this bank, and of nobody.
    let nobody = look_up(&world, &payer, "DE97500105170000000001", "Somebody Else").await;
    assert_eq!(nobody, stranger, "an account that is not there is answered like another's");
    assert_eq!(stranger["payeeToken"], "");
    let abroad = look_up(&world, &payer, "GB29NWBK60161331926819", "Somebody Else").await;
    assert_eq!(abroad["payeeMatch"], "PAYEE_MATCH_OTHER_BANK");
}

async fn a_forged_token_pays_nobody(world: Arc<World>) {
    let payer = world.customer().await;
    let from = world.account(&payer, "EUR", 0).await;
    world.fund(&from, "EUR", 100).await;
    let (_, _, iban, name) = payee(&world).await;
    let found = look_up(&world, &payer, &iban, &name).await;
    let mut token = found["payeeToken"].as_str().unwrap().to_owned().into_bytes();
    let middle = token.len() / 2;
    token[middle] = if token[middle] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(token).unwrap();
    let answer =
        world.rest.post(&payer.token, "/v1/transfers", &unique("forged"), &payment(&from, &forged)).await;
    let error = answer.refused(400, "INVALID_ARGUMENT", "PAYEE_TOKEN_INVALID");
    assert!(!error.to_string().contains(&forged), "a token is not repeated: {error}");
    assert_eq!(world.balance(&payer.token, &from).await, 100);
}
