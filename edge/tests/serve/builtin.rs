//! What the edge answers itself.

use http::{Method, StatusCode};

use crate::client::{Http, Rest};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_its_page_are_there_for_anyone() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, None);
        let reply = rest.send(Method::GET, "/openapi.json", &[], "").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json()["openapi"], "3.1.0");
        assert!(reply.json()["paths"].get("/v1/notes/{note_id}").is_some());
        assert!(reply.json()["paths"].get("/v1/hello/{name}").is_some(), "foreign methods too");
        let tag = reply.headers["etag"].to_str().unwrap().to_owned();
        let again = rest.send(Method::GET, "/openapi.json", &[("if-none-match", &tag)], "").await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        assert!(again.body.unwrap().is_empty());
        let head = rest.send(Method::HEAD, "/openapi.json", &[], "").await;
        assert_eq!((head.status, head.body.unwrap().len()), (StatusCode::OK, 0));
        let post = rest.send(Method::POST, "/openapi.json", &[], "").await;
        assert_eq!(
            (post.status, post.reason().as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED")
        );

        let docs = rest.send(Method::GET, "/docs", &[], "").await;
        assert_eq!(docs.headers["content-type"], "text/html; charset=utf-8");
        let policy = docs.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        let html = String::from_utf8(docs.body.unwrap().to_vec()).unwrap();
        for link in html.split('"').filter(|text| text.starts_with('/')) {
            let part = rest.send(Method::GET, link, &[], "").await;
            assert_eq!(part.status, StatusCode::OK, "{link}");
        }
    }
    world.until("both are in the log", || world.access_log().len() > 2).await;
    assert_eq!(world.access_log()[0]["route"], "/openapi.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_the_document_is_configured() {
    let table = r#"
        [builtin.openapi]
        enabled = true
        allow = ["subject"]
        any_scope = ["notes.read"]
        [builtin.docs]
        enabled = false
        "#;
    let world = World::with(|config| config + table).await;
    let status = async |token: Option<String>, path: &str| {
        let reply = Rest::new(&world, Http::Two, token).send(Method::GET, path, &[], "").await;
        (reply.status.as_u16(), reply.headers.get("cache-control").unwrap().to_str().unwrap().to_owned())
    };
    let expect = |status, cache: &str| (status, cache.to_owned());
    assert_eq!(status(None, "/openapi.json").await, expect(401, "no-store"));
    assert_eq!(status(Some(world.token_for("other", 600)), "/openapi.json").await, expect(403, "no-store"));
    assert_eq!(status(Some(world.token()), "/openapi.json").await, expect(200, "private, no-cache"));
    assert_eq!(status(Some(world.token()), "/docs").await, expect(404, "no-store"));
}
