//! What the errors of a method that moves money say of the call: in each language the same, and of other methods nothing.

use http::Method;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::client::{Grpc, Http, Reply, Rest};
use crate::messages::*;
use crate::world::World;

const GET: &str = "/echo.v1.EchoService/GetNote";
const JSON: (&str, &str) = ("content-type", "application/json");
const PROBLEM: (&str, &str) = ("accept", "application/problem+json, application/json;q=0.9");

/// The world with money in its notes.
async fn world(edit: impl FnOnce(String) -> String) -> World {
    World::with(|config| {
        let mut config = edit(config);
        for (name, scope) in [("GetNote", "notes.read"), ("CreateNote", "notes.write")] {
            config.push_str(&format!(
                r#"
                [[method]]
                name = "echo.v1.EchoService/{name}"
                policy = {{ allow = ["subject"], any_scope = ["{scope}"], rate_class = "money" }}
                "#
            ));
        }
        config
    })
    .await
}

/// The `outcome` of an error, whichever of its two shapes it has.
fn outcome(reply: &Reply) -> Value {
    let json = reply.json();
    if reply.header("content-type") == "application/problem+json" {
        return json["metadata"]["outcome"].clone();
    }
    let details = json["error"]["details"].as_array().unwrap();
    let info = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo");
    info.unwrap()["metadata"]["outcome"].clone()
}

fn told(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata.remove("outcome").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_about_money_says_what_became_of_the_call() {
    let world = world(|config| config).await;
    let nobody = Rest::new(&world, Http::Two, None);
    let poor = Rest::new(&world, Http::Two, Some(world.token_for("nothing", 600)));
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        for accept in [("accept", "application/json"), PROBLEM] {
            let check =
                async |rest: &Rest, verb, path: &str, headers: &[(&str, &str)], body: &str, expect: &str| {
                    let headers = [headers, &[accept]].concat();
                    let reply = rest.send(verb, path, &headers, body.to_owned()).await;
                    assert!(reply.status.as_u16() >= 400, "{reply:?}");
                    assert_eq!(outcome(&reply), expect, "{path}: {reply:?}");
                };
            let note = "/v1/notes/n-1";
            check(&nobody, Method::GET, note, &[], "", "not_done").await;
            check(&poor, Method::GET, note, &[], "", "refused").await;
            check(&rest, Method::GET, "/v1/notes/n-1?what=1", &[], "", "refused").await;
            check(&rest, Method::POST, "/v1/notes", &[JSON], "{\"text\": ", "refused").await;
            check(&rest, Method::GET, "/v1/notes/slow", &[("x-server-timeout", "0.2")], "", "unknown").await;
            // The service says nothing of it.
            check(&rest, Method::GET, "/v1/notes/missing", &[], "", "unknown").await;
            // Nobody has looked which method it is for.
            let big = "x".repeat(20_000);
            check(&rest, Method::GET, note, &[("x-big", &big)], "", "refused").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_grpc_web_say_it_too() {
    let world = world(|config| config).await;
    let get = async |token: Option<String>, note_id: &str| {
        let request = GetNoteRequest { note_id: note_id.to_owned() };
        Grpc::new(&world, token).unary::<_, Note>(GET, request).await.unwrap_err()
    };
    assert_eq!(told(&get(None, "n-1").await), "not_done");
    assert_eq!(told(&get(Some(world.token_for("nothing", 600)), "n-1").await), "refused");
    assert_eq!(told(&get(Some(world.token()), "missing").await), "unknown");
    let late = get(Some(world.token()), "slow").await;
    assert_eq!((late.code(), told(&late).as_str()), (Code::DeadlineExceeded, "unknown"));

    let web = Rest::new(&world, Http::One, None);
    let form = [("content-type", "application/grpc-web+proto")];
    let reply = web.send(Method::POST, GET, &form, vec![0; 5]).await;
    assert_eq!(told(&Status::from_header_map(&reply.headers).unwrap()), "not_done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_nobody_is_not_done() {
    let set = "upstream = \"svc-echo\"\n        policy_source";
    let world = world(|config| config.replace(set, "upstream = \"nowhere\"\n        policy_source")).await;
    let rest = Rest::new(&world, Http::One, Some(world.token()));
    let reply = rest.post("/v1/notes", "{}").await;
    assert_eq!((reply.reason().as_str(), outcome(&reply)), ("UPSTREAM_UNAVAILABLE", "not_done".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_moves_no_money_says_nothing_of_it() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::Two, None);
    assert_eq!(outcome(&rest.get("/v1/notes/n-1").await), Value::Null);
    assert_eq!(outcome(&rest.get("/v2/nothing").await), Value::Null, "what is no method does nothing");
    let missing = Rest::new(&world, Http::Two, Some(world.token())).get("/v1/notes/missing").await;
    assert_eq!(outcome(&missing), Value::Null);
}
