//! A token that is taken back: staff tell svc-cache over REST, every edge hears of it, and the token is worth nothing from then on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dev::TokenRequest;
use e2e::World;
use e2e::world::{CUSTOMER_SCOPES, eventually, unique};
use serde_json::json;

crate::tests![a_token_that_staff_revoke_is_refused_and_others_are_not];

async fn a_token_that_staff_revoke_is_refused_and_others_are_not(world: Arc<World>) {
    let customer = world.customer().await;
    let token = |id: &str| {
        let request = TokenRequest::new(&customer.id).scopes(&CUSTOMER_SCOPES).customer(&customer.id);
        world.token(&request.claim("jti", json!(id)))
    };
    let (lost, kept) = (unique("jti"), unique("jti"));
    let (stolen, own) = (token(&lost), token(&kept));
    let path = format!("/v1/customers/{}", customer.id);
    world.rest.get(&stolen, &path).await.ok();

    let expires = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() + Duration::from_secs(3600));
    let body =
        json!({ "issuer": world.mesh.issuer().url(), "tokenId": lost, "expireTime": expires.to_rfc3339() });
    world.rest.post(&customer.token, "/v1/tokens:revoke", &unique("revoke"), &body).await.refused(
        403,
        "PERMISSION_DENIED",
        "SCOPE_MISSING",
    );
    world.rest.post(&world.staff(), "/v1/tokens:revoke", &unique("revoke"), &body).await.ok();
    eventually("the edge has heard of it", Duration::from_secs(20), || async {
        !world.rest.get(&stolen, &path).await.status.is_success()
    })
    .await;
    world.rest.get(&stolen, &path).await.refused(401, "UNAUTHENTICATED", "TOKEN_REVOKED");
    world.rest.get(&own, &path).await.ok();
}
