//! A configuration is replaced under those who use it: whole or not at all, without a failed request, and with nothing left behind
//! of the one before.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::StatusCode;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::client::{Grpc, Http, Rest};
use crate::messages::{GetNoteRequest, Note};
use crate::upstream::fed;
use crate::world::{World, uncounted};

const OPEN: &str = r#"policy = { allow = ["anonymous", "subject"], default_deadline_ms = 400 }"#;
const CLOSED: &str = r#"policy = { allow = ["subject"], default_deadline_ms = 400 }"#;
const ADDED: &str = r#"
    [[method]]
    name = "foreign.Greeter/Hello"
    http = [{ get = "/v1/hello/{name}" }, { get = "/v1/greet/{name}" }]
"#;

fn with_route(text: &str) -> String {
    text.replacen("[[method]]\n        name = \"foreign.Greeter/Hello\"\n        http = [{ get = \"/v1/hello/{name}\" }]", ADDED, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_over_without_a_restart() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::Two, None);
    assert_eq!(rest.get("/v1/greet/you").await.status, StatusCode::NOT_FOUND);
    world.reconfigure(|text| with_route(&text)).await;
    assert_eq!(rest.get("/v1/greet/you").await.status, StatusCode::OK, "on the connection that was open");
    assert!(world.page("/routes").await.contains("/v1/greet/{name}"));
    let page: serde_json::Value = serde_json::from_str(&world.page("/config").await).unwrap();
    assert_eq!((&page["generation"], &page["last_reload"]["refused"]), (&2.into(), &().into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_the_files_again() {
    let world = World::with(|text| text.replace("watch_ms = 40", "watch_ms = 0")).await;
    world.edit(|text| with_route(&text));
    assert!(Command::new("sh").args(["-c", "kill -HUP $PPID"]).status().unwrap().success());
    world.until("it is taken over", || world.number("edge_config_generation") == 2).await;
    assert_eq!(Rest::new(&world, Http::One, None).get("/v1/greet/you").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_the_old_configuration_serves_on() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::One, None);
    let mut good = String::new();
    world.edit(|text| {
        good.clone_from(&text);
        text
    });
    let listen = "[listener.mesh]\n        listen = \"127.0.0.1:0\"";
    for (from, to, says) in [
        ("[limits]", "[limits", "edge.toml"),
        ("[limits]", "[limits]\ntypo = 1", "typo"),
        ("upstream = \"svc-echo\"", "upstream = \"svc-eco\"", "svc-eco"),
        ("/foreign.binpb", "/gone.binpb", "gone.binpb"),
        ("/jwks.json", "/gone.json", "gone.json"),
        ("get = \"/v1/hello/{name}\"", "get = \"/v1/hello/{nam}\"", "nam"),
        (listen, "[listener.mesh]\n        listen = \"127.0.0.1:1\"", "listener.mesh.listen needs a restart"),
        ("grace_ms = 10000", "grace_ms = 9000", "drain.grace_ms needs a restart"),
    ] {
        let refused = world.misconfigure(|_| good.replacen(from, to, 1)).await;
        assert!(refused.contains(says), "{to}: {refused}");
        assert_eq!(rest.get("/v1/hello/you").await.status, StatusCode::OK, "{to}");
    }
    assert_eq!(world.number("edge_config_generation"), 1);
    assert_eq!(world.number("edge_config_snapshots"), 1, "what was refused is gone");
    world.reconfigure(|_| with_route(&good)).await;
    assert_eq!(rest.get("/v1/greet/you").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_policy_holds_for_the_next_request_of_an_open_connection() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, None);
        assert_eq!(rest.get("/v1/hello/you").await.status, StatusCode::OK);
        world.reconfigure(|text| text.replace(OPEN, CLOSED)).await;
        assert_eq!(rest.get("/v1/hello/you").await.status, StatusCode::UNAUTHORIZED);
        world.reconfigure(|text| text.replace(CLOSED, OPEN)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_worth_nothing_once_its_issuer_is_gone() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let (verified, remembered) =
        ("authn_tokens_total{result=\"verified\"}", "authn_tokens_total{result=\"remembered\"}");
    assert_eq!(rest.get("/v1/notes/n-1").await.status, StatusCode::OK);
    world.reconfigure(|text| with_route(&text)).await;
    assert_eq!(rest.get("/v1/notes/n-1").await.status, StatusCode::OK);
    assert_eq!((world.number(verified), world.number(remembered)), (1, 1), "an issuer unchanged remembers");

    world.reconfigure(|text| text.replace("algorithms =", "leeway_s = 31\nalgorithms =")).await;
    assert_eq!(rest.get("/v1/notes/n-1").await.status, StatusCode::OK);
    assert_eq!(world.number(verified), 2, "by new rules it is judged again");

    world
        .reconfigure(|text| {
            text.replace("issuer = \"https://issuer.test\"", "issuer = \"https://other.test\"")
        })
        .await;
    assert_eq!(rest.get("/v1/notes/n-1").await.status, StatusCode::UNAUTHORIZED, "on the same connection");
    let page = world.process.metrics.render().unwrap();
    assert!(!page.contains("jwks_keys{issuer=\"https://issuer.test\"}"), "its numbers are forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_while_its_upstream_is_replaced_and_an_unchanged_one_keeps_its_connections() {
    let world = World::new().await;
    let grpc = Grpc::new(&world, Some(world.token()));
    let (sender, notes) = fed::<Note>(1);
    sender.send(Note { size: 1, ..Note::default() }).await.unwrap();
    let mut chat = grpc.streaming::<_, Note>("/echo.v1.EchoService/Chat", notes).await.unwrap().into_inner();
    assert_eq!(chat.message().await.unwrap().unwrap().size, 1);
    let dials = || world.number("upstream_dials_total{upstream=\"svc-echo\",result=\"connected\"}");
    let get = async || grpc.unary::<_, Note>("/echo.v1.EchoService/GetNote", GetNoteRequest::default()).await;
    get().await.unwrap();
    let before = dials();
    world.reconfigure(|text| with_route(&text)).await;
    get().await.unwrap();
    assert_eq!(dials(), before, "the connections of an unchanged upstream serve on");

    world.reconfigure(|text| text.replacen("[[upstream]]", "[[upstream]]\nstreams_max = 99", 1)).await;
    get().await.unwrap();
    assert!(dials() > before, "a changed upstream makes its own");
    sender.send(Note { size: 2, ..Note::default() }).await.unwrap();
    assert_eq!(chat.message().await.unwrap().unwrap().size, 2, "the stream goes on upon the old one");
    assert_eq!(world.number("edge_config_snapshots"), 2);
    drop(sender);
    assert!(chat.message().await.unwrap().is_none());
    world.until("the old one is gone", || world.number("edge_config_snapshots") == 1).await;

    // Of an upstream that is configured no more, nothing is left.
    world.reconfigure(|text| text.replace("\"nowhere\"", "\"elsewhere\"")).await;
    let page = world.process.metrics.render().unwrap();
    assert!(!page.contains("upstream_endpoints{upstream=\"nowhere\""), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_leave_nothing_behind() {
    let world = World::with(|text| text.replace("watch_ms = 40", "watch_ms = 10")).await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    // Each replaces the upstream, with its tasks and connections, and the issuer, with its own.
    let replace = async |n: usize| {
        world
            .reconfigure(|text| {
                let text =
                    text.replacen("[[upstream]]", &format!("[[upstream]]\nready_ms = {}", 2_000 + n), 1);
                text.replacen("algorithms =", &format!("leeway_s = {}\nalgorithms =", n % 100), 1)
            })
            .await;
        world.edit(|text| {
            let text = text.replacen(&format!("\nready_ms = {}", 2_000 + n), "", 1);
            text.replacen(&format!("leeway_s = {}\n", n % 100), "", 1)
        });
        assert_eq!(rest.get("/v1/notes/n-1").await.status, StatusCode::OK);
    };
    replace(1).await;
    world.until("the file is as it was", || world.number("edge_config_generation") == 3).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for n in 2..52 {
        let generation = world.number("edge_config_generation");
        replace(n).await;
        world
            .until("the file is as it was", || world.number("edge_config_generation") == generation + 2)
            .await;
    }
    assert!(world.number("edge_config_generation") > 100);
    world.until("old configurations are gone", || world.number("edge_config_snapshots") == 1).await;
    world.until("their tasks have ended", || tasks() <= before + 4).await;
    world
        .until("their connections are closed", || {
            world.number("upstream_connections{upstream=\"svc-echo\"}") <= 3
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_fail_no_request() {
    let world = Arc::new(World::with(uncounted).await);
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (world, over, served) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&served));
        clients.spawn(async move {
            let token = Some(world.token());
            let grpc = Grpc::new(&world, token.clone());
            let rest = Rest::new(&world, if client % 2 == 0 { Http::One } else { Http::Two }, token);
            while !over.load(Ordering::Relaxed) {
                if client < 4 {
                    let reply = rest.get("/v1/notes/n-1").await;
                    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
                    assert!(reply.json()["noteId"] == "n-1");
                } else {
                    let note = GetNoteRequest { note_id: "n-2".into() };
                    grpc.unary::<_, Note>("/echo.v1.EchoService/GetNote", note).await.unwrap();
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // Routes, policies, issuers and upstreams, one after the other and back again.
    let changes: [(&str, &str); 4] = [
        ("get = \"/v1/hello/{name}\"", "get = \"/v1/greet/{name}\""),
        (OPEN, CLOSED),
        ("algorithms =", "leeway_s = 31\nalgorithms ="),
        ("[[upstream]]\n", "[[upstream]]\nstreams_max = 99\n"),
    ];
    for _ in 0..3 {
        for (one, other) in changes {
            for (from, to) in [(one, other), (other, one)] {
                let before = served.load(Ordering::Relaxed);
                world.reconfigure(|text| text.replacen(from, to, 1)).await;
                world.until("requests go on", || served.load(Ordering::Relaxed) >= before + 20).await;
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) >= 480);
    let codes: BTreeSet<String> =
        world.access_log().iter().map(|line| line["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(codes, BTreeSet::from(["OK".to_owned()]));
}
