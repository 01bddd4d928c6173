//! Certificates: what is read from them, partners with and without tokens, and services.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

use super::*;

const WORKLOAD: &str = "spiffe://causeway.internal/svc-docs";

fn certificate(uris: &[&str], usages: &[ExtendedKeyUsagePurpose]) -> PeerCertificate {
    let mut params = CertificateParams::new(vec!["name.example".to_owned()]).unwrap();
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
    params.extended_key_usages = usages.to_vec();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2028, 1, 1);
    let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let read = PeerCertificate::from_der(&der).unwrap();
    assert_eq!(read.sha256.as_slice(), ring::digest::digest(&ring::digest::SHA256, &der).as_ref());
    let behind = [der.as_slice(), &[0]].concat();
    assert_eq!(PeerCertificate::from_der(&behind), Err(Unreadable));
    assert_eq!(PeerCertificate::from_der(&der[..der.len() - 1]), Err(Unreadable));
    read
}

fn client(uri: &str) -> PeerCertificate {
    certificate(&[uri], &[ExtendedKeyUsagePurpose::ClientAuth])
}

fn certificate_cause(result: Result<Authenticated, Refusal>) -> CertificateCause {
    match result {
        Err(Refusal::CertificateInvalid { cause }) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_is_read() {
    let read = certificate(&[WORKLOAD, "urn:two"], &[]);
    assert_eq!(read.uri_sans, [WORKLOAD, "urn:two"]);
    assert!(!read.for_clients);
    assert_eq!(read.not_before, UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    assert_eq!(read.not_after, UNIX_EPOCH + Duration::from_secs(1_830_297_600));
    assert!(client(WORKLOAD).for_clients);
    for bytes in [&b""[..], b"0", b"not a certificate", &[0x30, 0x82, 0xff, 0xff]] {
        assert_eq!(PeerCertificate::from_der(bytes), Err(Unreadable));
    }
}

#[tokio::test]
async fn f2_f3_f4_a_certificate_says_one_name_for_clients_while_it_is_valid() {
    let scene = Scene::new().await;
    let at = async |listener, peer: &PeerCertificate, now: SystemTime| {
        let result = scene
            .authenticator
            .authenticate(listener, Some(peer), &Memory::default(), get(&HeaderMap::new()), now)
            .await;
        result.map(|authenticated| authenticated.caller.kind()).map_err(|refusal| {
            let Refusal::CertificateInvalid { cause } = refusal else { panic!("{refusal:?}") };
            cause
        })
    };
    let names =
        [(Listener::Mesh, WORKLOAD, "service"), (Listener::Partner, "https://psp.example/", "partner")];
    for (listener, name, kind) in names {
        let good = client(name);
        assert_eq!(at(listener, &good, instant()).await, Ok(kind));
        let second = Duration::from_secs(1);
        assert_eq!(at(listener, &good, good.not_after).await, Ok(kind));
        assert_eq!(at(listener, &good, good.not_after + second).await, Err(CertificateCause::Validity));
        assert_eq!(at(listener, &good, good.not_before - second).await, Err(CertificateCause::Validity));
        let server = certificate(&[name], &[ExtendedKeyUsagePurpose::ServerAuth]);
        assert_eq!(at(listener, &server, instant()).await, Err(CertificateCause::Purpose));
        let any = certificate(&[name], &[ExtendedKeyUsagePurpose::Any]);
        assert_eq!(at(listener, &any, instant()).await, Err(CertificateCause::Purpose));
        assert_eq!(at(listener, &certificate(&[name], &[]), instant()).await, Err(CertificateCause::Purpose));
        for uris in [&[][..], &[name, name], &[name, "urn:other"], &["urn:other", name]] {
            let several = certificate(uris, &[ExtendedKeyUsagePurpose::ClientAuth]);
            assert_eq!(at(listener, &several, instant()).await, Err(CertificateCause::Name), "{uris:?}");
        }
    }
}

#[tokio::test]
async fn f4_names_that_only_look_alike_are_not_known() {
    let scene = Scene::new().await;
    let workloads = [
        "spiffe://causeway.internal/edge",
        "spiffe://causeway.internal/",
        "spiffe://causeway.internal",
        "spiffe://causeway.internal/svc-docs/",
        "spiffe://causeway.internal/svc-docs/admin",
        "spiffe://causeway.internal//svc-docs",
        "spiffe://causeway.internal/svc%2ddocs",
        "spiffe://causeway.internal/SVC-DOCS",
        "spiffe://CAUSEWAY.internal/svc-docs",
        "SPIFFE://causeway.internal/svc-docs",
        "spiffe://causeway.internal.evil/svc-docs",
        "spiffe://other.internal/svc-docs",
        "spiffe://causeway.internal:443/svc-docs",
        "spiffe://user@causeway.internal/svc-docs",
        "spiffe://causeway.internal/svc-docs?x=1",
        "spiffe://causeway.internal/svc-docs#x",
        "spiffe://causeway.internal/svc_docs",
        "https://psp.example/",
    ];
    for uri in workloads {
        let result = scene
            .authenticator
            .authenticate(
                Listener::Mesh,
                Some(&client(uri)),
                &Memory::default(),
                get(&HeaderMap::new()),
                instant(),
            )
            .await;
        assert_eq!(certificate_cause(result), CertificateCause::Name, "{uri}");
    }
    for uri in ["https://psp.example", "https://PSP.example/", "https://psp.example/%20", WORKLOAD, "urn:psp"]
    {
        let result = scene
            .authenticator
            .authenticate(
                Listener::Partner,
                Some(&client(uri)),
                &Memory::default(),
                get(&HeaderMap::new()),
                instant(),
            )
            .await;
        assert_eq!(certificate_cause(result), CertificateCause::Name, "{uri}");
    }
}

#[tokio::test]
async fn both_listeners_of_certificates_ask_for_one() {
    let scene = Scene::new().await;
    for listener in [Listener::Partner, Listener::Mesh] {
        let headers = bearer(&scene.signer.token(&claims()));
        let result = scene
            .authenticator
            .authenticate(listener, None, &Memory::default(), get(&headers), instant())
            .await;
        assert_eq!(result.unwrap_err(), Refusal::CertificateRequired);
    }
}

#[tokio::test]
async fn a_partner_acts_for_a_subject_by_a_token_bound_to_its_certificate() {
    let scene = Scene::new().await;
    let psp = client("https://psp.example/");
    let partner = async |headers: &HeaderMap| {
        scene
            .authenticator
            .authenticate(Listener::Partner, Some(&psp), &Memory::default(), get(headers), instant())
            .await
    };
    let alone = partner(&HeaderMap::new()).await.unwrap();
    assert_eq!(alone.caller.principal, Principal::Partner(Partner { id: "psp".into(), subject: None }));
    assert_eq!(alone.expires_at, Some(psp.not_after));

    let with = partner(&bearer(&scene.signer.token(&bound(&psp)))).await.unwrap();
    assert_eq!((with.caller.kind(), with.caller.customer_id()), ("partner", Some("c-1")));
    assert_eq!(with.left(instant()), Duration::from_secs(630));
    assert_eq!(told(&with), *with.caller);

    let thief = client("https://psp.example/");
    for token in [scene.signer.token(&claims()), scene.signer.token(&bound(&thief))] {
        assert_eq!(cause(partner(&bearer(&token)).await), Cause::Binding);
    }
    assert_eq!(cause(partner(&bearer("a.b.c")).await), Cause::Malformed);
}

#[tokio::test]
async fn e4_what_a_service_is_told_ends_with_the_certificate_of_a_bound_token() {
    let scene = Scene::new().await;
    let soon = instant() + Duration::from_secs(20);
    let psp = PeerCertificate { not_after: soon, ..client("https://psp.example/") };
    let headers = bearer(&scene.signer.token(&bound(&psp)));
    let (memory, asked) = (Memory::default(), get(&headers));
    let public = scene.authenticator.authenticate(Listener::Public, Some(&psp), &memory, asked, instant());
    let authenticated = public.await.unwrap();
    assert_eq!(authenticated.expires_at, Some(soon));
    let audience: Arc<str> = WORKLOAD.into();
    let stamp = authenticated.stamp(&audience, instant()).unwrap();
    let verified = txn_signer().verifier().verify(&stamp, &audience, instant()).unwrap();
    assert_eq!(verified.expires_at, soon);
}

#[tokio::test]
async fn a_bound_token_is_of_no_use_to_whoever_steals_it() {
    let scene = Scene::new().await;
    let psp = client("https://psp.example/");
    let headers = bearer(&scene.signer.token(&bound(&psp)));
    let public = async |peer: Option<&PeerCertificate>| {
        scene
            .authenticator
            .authenticate(Listener::Public, peer, &Memory::default(), get(&headers), instant())
            .await
    };
    assert!(public(Some(&psp)).await.is_ok());
    // Remembered by then, and checked again.
    assert_eq!(cause(public(None).await), Cause::Binding);
    assert_eq!(cause(public(Some(&client("https://psp.example/"))).await), Cause::Binding);
    let expired = PeerCertificate { not_after: instant() - Duration::from_secs(1), ..psp };
    assert_eq!(cause(public(Some(&expired)).await), Cause::Binding);
}

/// A token that tells `audience` that `caller` asks.
fn txn_token(caller: &Caller, audience: &str, not_after: Option<SystemTime>) -> HeaderValue {
    txn_signer().mint(caller, audience, instant(), not_after).unwrap().value
}

/// What the mesh listener makes of a service that hands tokens back.
async fn mesh(
    scene: &Scene,
    peer: &PeerCertificate,
    tokens: &[HeaderValue],
) -> Result<Authenticated, Refusal> {
    let headers = tokens.iter().map(|token| (crate::headers::TXN_TOKEN, token.clone())).collect();
    scene
        .authenticator
        .authenticate(Listener::Mesh, Some(peer), &Memory::default(), get(&headers), instant())
        .await
}

#[tokio::test]
async fn e4_a_forwarded_caller_gets_the_name_on_the_certificate_and_no_more_time() {
    let scene = Scene::new().await;
    let docs = client(WORKLOAD);
    let alone = mesh(&scene, &docs, &[]).await.unwrap();
    assert_eq!(*alone.caller, Caller { principal: Principal::Service, service: Some("svc-docs".into()) });
    assert_eq!(alone.expires_at, Some(docs.not_after));

    let alice = scene.public(&scene.signer.token(&claims())).await.unwrap().caller;
    let soon = instant() + Duration::from_secs(9);
    for brought_by in [None, Some("svc-ledger".to_owned())] {
        let sent = Caller { principal: alice.principal.clone(), service: brought_by };
        let token = txn_token(&sent, WORKLOAD, Some(soon));
        let expect = Caller { principal: alice.principal.clone(), service: Some("svc-docs".into()) };
        for _ in 0..2 {
            let stamped = mesh(&scene, &docs, std::slice::from_ref(&token)).await.unwrap();
            assert_eq!((&*stamped.caller, stamped.expires_at), (&expect, Some(soon)));
            assert_eq!(told(&stamped), expect);
        }
    }
    let other = Caller { principal: Principal::Service, service: Some("svc-ledger".into()) };
    let spoken_for = mesh(&scene, &docs, &[txn_token(&other, WORKLOAD, None)]).await.unwrap();
    assert_eq!(spoken_for.caller, alone.caller, "no service speaks for another");
}

#[tokio::test]
async fn e4_a_token_is_taken_from_the_service_it_was_minted_for_and_from_no_other() {
    let scene = Scene::new().await;
    let (docs, ledger) = (client(WORKLOAD), client("spiffe://causeway.internal/svc-ledger"));
    let alice = scene.public(&scene.signer.token(&claims())).await.unwrap().caller;
    let token = txn_token(&alice, WORKLOAD, None);
    let refused = |error| Refusal::TransactionToken(error);
    assert!(mesh(&scene, &docs, std::slice::from_ref(&token)).await.is_ok());
    let stolen = mesh(&scene, &ledger, std::slice::from_ref(&token)).await;
    assert_eq!(stolen.unwrap_err(), refused(TokenError::Audience));
    let twice = mesh(&scene, &docs, &[token.clone(), token]).await;
    assert_eq!(twice.unwrap_err(), refused(TokenError::Malformed));
    let past = txn_token(&alice, WORKLOAD, Some(instant() - Duration::from_secs(60)));
    assert_eq!(mesh(&scene, &docs, &[past]).await.unwrap_err(), refused(TokenError::Expired));
}

#[tokio::test]
async fn the_mesh_takes_neither_tokens_of_people_nor_inventions() {
    let scene = Scene::new().await;
    let docs = client(WORKLOAD);
    let headers = bearer(&scene.signer.token(&claims()));
    let memory = Memory::default();
    let person =
        scene.authenticator.authenticate(Listener::Mesh, Some(&docs), &memory, get(&headers), instant());
    assert_eq!(cause(person.await), Cause::Listener);
    for bad in ["", "e30", "alice", "a.b.c", "eyJwcmluY2lwYWwiOiJyb290In0"] {
        let result = mesh(&scene, &docs, &[HeaderValue::from_static(bad)]).await;
        assert_eq!(result.unwrap_err(), Refusal::TransactionToken(TokenError::Malformed), "{bad}");
    }
}

#[tokio::test]
async fn outside_callers_cannot_bring_a_caller_along() {
    let scene = Scene::new().await;
    let staff = Caller { principal: Principal::Service, service: Some("svc-docs".into()) };
    let token = txn_token(&staff, "spiffe://causeway.internal/edge", None);
    let headers = HeaderMap::from_iter([(crate::headers::TXN_TOKEN, token)]);
    for listener in [Listener::Public, Listener::Partner] {
        let psp = client("https://psp.example/");
        let result = scene
            .authenticator
            .authenticate(listener, Some(&psp), &Memory::default(), get(&headers), instant())
            .await
            .unwrap();
        assert_eq!(result.caller.service, None);
        assert_ne!(result.caller.principal, Principal::Service);
    }
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused() {
    let good = config(Source {
        file: Some("keys.json".into()),
        refresh_s: 1,
        cooldown_s: 1,
        deadline_ms: 1,
        stale_s: 1,
        ..Source::default()
    });
    assert!(good.check("causeway.internal").is_ok());
    type Change = fn(&mut Config);
    let asked = || super::super::config::Introspection {
        url: "https://issuer/introspect".into(),
        client_id: "edge".into(),
        client_secret_file: "/etc/secret".into(),
        ca: None,
        ttl_s: 1,
        refused_ttl_s: 1,
        entries_max: 1,
        in_flight_max: 1,
        deadline_ms: 1,
    };
    let mut asking = good.clone();
    asking.issuers[0].jwks = None;
    assert!(asking.check("causeway.internal").is_err(), "neither keys nor a place to ask");
    asking.issuers[0].introspection = Some(asked());
    asking.issuers[0].algorithms.clear();
    assert!(asking.check("causeway.internal").is_ok());
    for url in ["http://issuer/introspect", "https://edge:secret@issuer/introspect", "/introspect"] {
        let mut config = asking.clone();
        config.issuers[0].introspection =
            Some(super::super::config::Introspection { url: url.into(), ..asked() });
        assert!(config.check("causeway.internal").is_err(), "{url}");
    }
    let mut twice = asking.clone();
    twice.issuers.push(asking.issuers[0].clone());
    twice.issuers[1].issuer = "https://other".into();
    assert!(twice.check("causeway.internal").is_err(), "a token that is no JWT does not say whose it is");
    let dpop = |origins: &[&str], window_s| {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let mut config = good.clone();
        config.development = false;
        config.issuers[0].dpop = Some(super::super::config::DPoP { origins, window_s, required: false });
        config.check("causeway.internal")
    };
    assert!(dpop(&["https://api.example", "https://api.example:8443/"], 60).is_ok());
    assert!(dpop(&["https://api.example"], 0).is_err() && dpop(&["https://api.example"], 301).is_err());
    for bad in [
        "",
        "api.example",
        "http://api.example",
        "https://a@api.example",
        "https://api.example/v1",
        "ftp://a",
    ] {
        assert!(dpop(&["https://api.example", bad], 60).is_err(), "{bad:?}");
    }
    assert!(dpop(&[], 60).is_err());
    let changes: [(&str, Change); 13] = [
        ("required claim", |config| {
            let claim = super::super::config::RequiredClaim { claim: String::new(), values: Vec::new() };
            config.issuers[0].required_claims = vec![claim];
        }),
        ("no revocations", |config| config.revocations_max = 0),
        ("no proofs", |config| config.proofs_max = 0),
        ("issuer twice", |config| config.issuers.push(config.issuers[0].clone())),
        ("no audience", |config| config.issuers[0].audiences.clear()),
        ("no algorithm", |config| config.issuers[0].algorithms.clear()),
        ("no type", |config| config.issuers[0].typ.clear()),
        ("leeway", |config| config.issuers[0].leeway_s = 301),
        ("lifetime", |config| config.issuers[0].lifetime_s_max = 0),
        ("no source", |config| config.issuers[0].jwks = Some(Source::default())),
        ("partner twice", |config| config.partners.push(config.partners[0].clone())),
        ("partner id", |config| config.partners[0].id = "a b".into()),
        ("workload as partner", |config| config.partners[0].uri = WORKLOAD.into()),
    ];
    for (what, change) in changes {
        let mut config = good.clone();
        change(&mut config);
        assert!(config.check("causeway.internal").is_err(), "{what}");
    }
    let toml = r#"
        [[issuer]]
        issuer = "https://issuer"
        audiences = ["https://api"]
        algorithms = ["ES256", "EdDSA"]
        jwks = { discovery = "https://issuer/.well-known/openid-configuration" }
    "#;
    let config: Config = toml::from_str(toml).unwrap();
    assert_eq!(config.issuers[0].typ, ["at+jwt"]);
    assert!(!config.development);
    for bad in [
        toml.replace("\"ES256\"", "\"HS256\""),
        toml.replace("\"ES256\"", "\"none\""),
        toml.replace("discovery", "dicovery"),
        format!("{toml}\ntyp_extra = 1"),
    ] {
        assert!(toml::from_str::<Config>(&bad).is_err(), "{bad}");
    }
}
