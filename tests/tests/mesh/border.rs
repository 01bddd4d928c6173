//! Who gets in where: services behind the edge, and the edge's own listeners.

use std::path::Path;
use std::sync::Arc;

use dev::Part;
use dev::pki::KeyedCertificate;
use e2e::World;
use e2e::grpc::{calling, channel, reason};
use proto::accounts::v1::accounts_service_client::AccountsServiceClient;
use proto::accounts::v1::{BatchGetAccountsRequest, GetAccountRequest};
use proto::ledger::v1::GetBalanceRequest;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use tonic::Code;

crate::tests![
    e3_a_service_talks_to_nobody_but_the_edge,
    the_mesh_listener_wants_a_workload,
    a_service_calls_what_its_policy_opens_and_no_more,
    the_partner_listener_wants_a_partner,
    a_forged_identity_header_changes_nothing,
    probes_and_metrics_answer_on_the_admin_port,
];

async fn e3_a_service_talks_to_nobody_but_the_edge(world: Arc<World>) {
    let pki = world.mesh.pki();
    let authority = &pki.workload_authority.certificate;
    let ask = async |certificate: Option<&KeyedCertificate>| {
        let identity = certificate.map(|c| (c.certificate.as_path(), c.key.as_path()));
        let channel = channel(world.mesh.ports().ledger, "svc-ledger.causeway.internal", authority, identity);
        let mut client = LedgerServiceClient::new(calling(channel, None));
        client
            .get_balance(GetBalanceRequest { account_id: "settlement-EUR".into(), ..Default::default() })
            .await
            .unwrap_err()
    };
    let edge = ask(Some(&pki.workload(Part::Edge))).await;
    assert_eq!(edge.code(), Code::Unauthenticated, "the edge gets in, and is asked for whom: {edge}");
    for certificate in
        [None, Some(&pki.workload(Part::Docs)), Some(&pki.workload(Part::Ledger)), Some(&pki.partner)]
    {
        let refused = ask(certificate).await;
        assert!(
            matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
            "the handshake fails: {refused}"
        );
    }
}

async fn the_mesh_listener_wants_a_workload(world: Arc<World>) {
    let pki = world.mesh.pki();
    let authority = &pki.workload_authority.certificate;
    let ask = async |identity: Option<(&Path, &Path)>| {
        let channel = channel(world.mesh.ports().mesh, "edge.causeway.internal", authority, identity);
        let mut client = AccountsServiceClient::new(calling(channel, None));
        client
            .batch_get_accounts(BatchGetAccountsRequest {
                account_ids: vec![uuid::Uuid::now_v7().to_string()],
            })
            .await
    };
    let of = |certificate: &KeyedCertificate| (certificate.certificate.clone(), certificate.key.clone());
    let docs = of(&pki.workload(Part::Docs));
    assert!(ask(Some((&docs.0, &docs.1))).await.unwrap().into_inner().accounts.is_empty());
    for (certificate, key) in [of(&pki.partner), of(&pki.workload(Part::Edge))] {
        assert!(ask(Some((&certificate, &key))).await.is_err(), "{} is no service", certificate.display());
    }
    assert!(ask(None).await.is_err());
}

async fn a_service_calls_what_its_policy_opens_and_no_more(world: Arc<World>) {
    let mut docs = AccountsServiceClient::new(calling(world.mesh_as(Part::Docs), None));
    let refused = docs
        .get_account(GetAccountRequest { account_id: uuid::Uuid::now_v7().to_string() })
        .await
        .unwrap_err();
    assert!(matches!(refused.code(), Code::PermissionDenied | Code::Unimplemented), "{refused}");
    let mut cache = LedgerServiceClient::new(calling(world.mesh_as(Part::Cache), None));
    let refused = cache
        .get_balance(GetBalanceRequest { account_id: "settlement-EUR".into(), ..Default::default() })
        .await;
    assert_eq!(
        refused.unwrap_err().code(),
        Code::PermissionDenied,
        "svc-cache has no business with balances"
    );
    let mut docs = LedgerServiceClient::new(calling(world.mesh_as(Part::Docs), None));
    docs.get_balance(GetBalanceRequest { account_id: "settlement-EUR".into(), ..Default::default() })
        .await
        .unwrap();
}

async fn the_partner_listener_wants_a_partner(world: Arc<World>) {
    use e2e::foreign::v1::EchoRequest;
    use e2e::foreign::v1::echo_service_client::EchoServiceClient;
    let pki = world.mesh.pki();
    let ask = async |certificate: Option<&KeyedCertificate>, token: Option<&str>| {
        let identity = certificate.map(|c| (c.certificate.as_path(), c.key.as_path()));
        let authority = &pki.server_authority.certificate;
        let channel = channel(world.mesh.ports().partner, "localhost", authority, identity);
        let request = EchoRequest { text: "partner".into(), ..Default::default() };
        EchoServiceClient::new(calling(channel, token)).echo(request).await
    };
    assert_eq!(ask(Some(&pki.partner), None).await.unwrap().into_inner().text, "partner");
    assert!(ask(None, None).await.is_err(), "without a certificate there is no handshake");
    assert!(
        ask(Some(&pki.workload(Part::Docs)), None).await.is_err(),
        "workload roots are not partner roots"
    );

    let plain = world.token(&dev::TokenRequest::new("alice"));
    let unbound = ask(Some(&pki.partner), Some(&plain)).await.unwrap_err();
    assert_eq!(
        unbound.code(),
        Code::Unauthenticated,
        "a token used with a certificate is bound to it: {}",
        reason(&unbound)
    );
    let bound = world.token(&dev::TokenRequest::new("alice").bound_to(&pki.partner_thumbprint));
    ask(Some(&pki.partner), Some(&bound)).await.unwrap();
}

async fn a_forged_identity_header_changes_nothing(world: Arc<World>) {
    let (owner, thief) = (world.customer().await, world.customer().await);
    let account = world.account(&owner, "EUR", 0).await;
    let forged = world.transaction_token(
        Part::Ledger,
        &chassis::Caller {
            principal: chassis::Principal::Subject(chassis::Subject {
                issuer: "forged".into(),
                id: "staff".into(),
                customer_id: Some(owner.id.clone()),
                scopes: ["staff.read".to_owned(), "accounts.read".to_owned()].into(),
            }),
            service: Some("svc-docs".into()),
        },
    );
    for name in ["txn-token", "Txn-Token", "TXN-TOKEN", "txn_token"] {
        let request = world
            .rest
            .request(http::Method::GET, &format!("/v1/accounts/{account}/balance"))
            .header("authorization", format!("Bearer {}", thief.token))
            .header("causeway-hops", "0")
            .header("connection", "txn-token")
            .header(name, forged.clone());
        let answer = world.rest.send(request.body(http_body_util::Full::default()).unwrap()).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403), "{name}: {answer:?}");
    }
}

async fn probes_and_metrics_answer_on_the_admin_port(world: Arc<World>) {
    for part in Part::WORKLOADS {
        let port = world.mesh.admin_port(part).unwrap();
        let get = async |path: &str| world.admin(part, path).await;
        assert_eq!(get("/live").await.0, 200, "{part}");
        assert_eq!(get("/ready").await, (200, "ready\n".to_owned()), "{part}");
        let (status, page) = get("/metrics").await;
        assert!(status == 200 && page.ends_with("# EOF\n"), "{part}: {page}");
        let channel = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
            .unwrap()
            .connect_lazy();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let ask = tonic_health::pb::HealthCheckRequest { service: "ready".into() };
        assert_eq!(health.check(ask).await.unwrap().into_inner().status, 1, "{part}");
    }
}
