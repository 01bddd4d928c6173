//! What a client may ask of a path, and in which form it hears the answer.

use http::{Method, StatusCode};

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
