//! What a client may ask of a path, and in which form it hears the answer.

use http::{Method, StatusCode};
use serde_json::json;

use crate::client::{Http, Rest};
use crate::world::World;

/// A method at the path of another that only services see, on the mesh listener.
const HIDDEN: &str = r#"
    [[method]]
    name = "echo.v1.EchoService/DeleteNote"
    http = [{ delete = "/v1/notes/{note_id}" }]
    policy = { allow = ["service"], services = ["svc-docs"] }
    "#;

#[tokio::test(flavor = "multi_thread")]
async fn a_path_says_what_can_be_done_with_it() {
    let world = World::with(|config| config + HIDDEN).await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, None);
        for (path, allow) in [
            ("/v1/notes/n-7", "GET, HEAD, OPTIONS"),
            ("/v1/notes", "OPTIONS, POST"),
            ("/openapi.json", "GET, HEAD, OPTIONS"),
        ] {
            let reply = rest.send(Method::OPTIONS, path, &[], "").await;
            assert_eq!((reply.status, reply.header("allow")), (StatusCode::NO_CONTENT, allow), "{path}");
            assert_eq!(reply.body.unwrap().len(), 0);
            // What is hidden reads like what is not there.
            for verb in [Method::DELETE, Method::PUT] {
                let reply = rest.send(verb, path, &[], "").await;
                assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allow));
            }
        }
        let unknown = rest.send(Method::OPTIONS, "/v2/nothing", &[], "").await;
        assert_eq!((unknown.status, unknown.reason().as_str()), (StatusCode::NOT_FOUND, "UNKNOWN_PATH"));
        assert_eq!(world.calls_behind(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_nobody_would_take_is_refused_before_the_call() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let ask = async |verb, path: &str, accept: &[&str]| {
            let headers: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
            rest.send(verb, path, &headers, "").await
        };
        for (verb, path, accept) in [
            (Method::GET, "/v1/notes/n-7", &["text/html"][..]),
            (Method::GET, "/v1/notes/n-7", &["application/json;q=0", "text/html"]),
            (Method::GET, "/v1/notes/n-7", &["text/event-stream"]),
            (Method::POST, "/v1/notes", &["application/xml"]),
            (Method::POST, "/v1/notes:collect", &["application/x-ndjson"]),
            (Method::GET, "/v1/notes:watch?count=1", &["text/plain"]),
            // Were it called, it would be the service that refuses.
            (Method::GET, "/v1/notes/missing", &["text/html"]),
        ] {
            let reply = ask(verb, path, accept).await;
            let told = (reply.status, reply.reason());
            assert_eq!(told, (StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE".into()), "{path} {accept:?}");
            assert_eq!(reply.header("content-type"), "application/json");
            let available = reply.json()["error"]["details"][0]["metadata"]["available"].to_string();
            assert!(available.contains("application/json"), "{available}");
        }
        for (path, accept) in [
            ("/v1/notes/n-7", &["text/html", "*/*;q=0.1"][..]),
            ("/v1/notes/n-7", &["application/*"]),
            ("/v1/notes/n-7", &["application/json; charset=utf-8"]),
            ("/v1/notes/n-7", &["nonsense"]),
            // Bytes may be anything.
            ("/v1/files/f-1?bytes=10", &["image/png"]),
        ] {
            assert_eq!(ask(Method::GET, path, accept).await.status, StatusCode::OK, "{path} {accept:?}");
        }
        let nothing = ask(Method::DELETE, "/v1/drafts/n-7", &["text/html"]).await;
        assert_eq!(nothing.status, StatusCode::NO_CONTENT, "what has no body is no matter of taste");
        let events = ask(Method::GET, "/v1/notes:watch?count=1", &["application/json;q=0.5, text/*"]).await;
        assert_eq!(events.header("content-type"), "text/event-stream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_problems_to_those_who_prefer_them() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let ask =
            async |verb, path: &str, accept: &str| rest.send(verb, path, &[("accept", accept)], "").await;
        let prefer = "application/problem+json, application/json;q=0.9";
        // The edge's own refusals, before and after the method is known, and the service's.
        for (verb, path, status, code, domain, reason) in [
            (Method::GET, "/v2/nothing", 404, "NOT_FOUND", "edge.v1", "UNKNOWN_PATH"),
            (Method::DELETE, "/v1/notes/n-1", 405, "UNIMPLEMENTED", "edge.v1", "METHOD_NOT_ALLOWED"),
            (Method::GET, "/v1/notes/n-1?what=1", 400, "INVALID_ARGUMENT", "edge.v1", "INVALID_REQUEST"),
            (Method::GET, "/v1/notes/missing", 404, "NOT_FOUND", "echo.v1", "NO_SUCH_NOTE"),
            (Method::GET, "/v1/notes:watch?fail=true", 409, "ABORTED", "echo.v1", "STREAM_BROKEN"),
        ] {
            let reply = ask(verb, path, prefer).await;
            assert_eq!(reply.header("content-type"), "application/problem+json", "{path}");
            let problem = reply.json();
            assert_eq!((reply.status.as_u16(), &problem["status"]), (status, &json!(status)), "{problem}");
            assert_eq!(problem["type"], format!("urn:causeway:error:{domain}:{reason}"));
            assert_eq!(problem["code"], code);
            assert_eq!((&problem["domain"], &problem["reason"]), (&json!(domain), &json!(reason)));
            assert!(!problem["title"].as_str().unwrap().is_empty());
            assert!(!problem["detail"].as_str().unwrap().is_empty());
            assert_eq!(problem["details"][0]["reason"], reason);
        }
        let plain =
            ask(Method::GET, "/v1/notes/missing", "application/json, application/problem+json;q=0.9").await;
        assert_eq!(plain.header("content-type"), "application/json");
        assert_eq!(plain.reason(), "NO_SUCH_NOTE");
        assert_eq!(
            ask(Method::GET, "/v1/notes/n-7", prefer).await.header("content-type"),
            "application/json"
        );
        // A stream that has begun has one shape for its failures.
        let lines = "application/problem+json, application/x-ndjson;q=0.5";
        let failed = ask(Method::GET, "/v1/notes:watch?count=1&fail=true", lines).await;
        assert!(failed.text().lines().last().unwrap().starts_with("{\"error\":{"), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_part_of_an_answer_that_it_asks_for() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let part = rest.get("/v1/notes/n-7?$fields=text,size").await;
        assert_eq!(part.json(), json!({"text": "a note", "size": "9223372036854775807"}));
        // Headers are made from the whole.
        assert_eq!(part.header("etag"), "\"n-7\"");
        let created = rest.post("/v1/notes?fields=size", r#"{"text": "a", "size": 1}"#).await;
        assert_eq!((created.status, created.json()), (StatusCode::CREATED, json!({"size": "1"})));
        assert_eq!(created.header("location"), "/v1/notes/n-1");
        let each = rest.get("/v1/notes:watch?count=2&$fields=note_id").await;
        assert_eq!(each.json(), json!([{"noteId": "n-0"}, {"noteId": "n-1"}]));
        let up = rest.post("/v1/notes:collect?$fields=noteId", "[{\"size\": 1}]").await;
        assert_eq!(up.json(), json!({"noteId": "1"}));
        let missing = rest.get("/v1/notes/missing?$fields=text").await;
        assert_eq!(missing.reason(), "NO_SUCH_NOTE");
        for (path, violation) in [
            ("/v1/notes/n-7?$fields=txt", "\"txt\" is not a field of the answer"),
            ("/v1/files/f-1?bytes=1&$fields=data", "\"data\" goes into a value that has no fields"),
        ] {
            let refused = rest.get(path).await;
            assert_eq!(
                (refused.status, refused.reason().as_str()),
                (StatusCode::BAD_REQUEST, "INVALID_REQUEST")
            );
            let violations = &refused.json()["error"]["details"][1]["fieldViolations"];
            assert_eq!(*violations, json!([{"field": "$fields", "description": violation}]));
        }
    }
}
