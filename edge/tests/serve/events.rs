//! Server-sent events: positions to resume from, and signs of life while nothing happens.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::client::{Http, Rest};
use crate::world::World;

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_goes_on_where_it_ended() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let watch = async |query: &str, headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers.iter().copied().chain([EVENTS]).collect();
            rest.send(Method::GET, &format!("/v1/notes:watch?{query}"), &headers, "").await
        };
        let ids = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
        };
        let whole = watch("count=4", &[]).await.text();
        assert_eq!(ids(&whole), ["0", "1", "2", "3"]);
        let second = "id: 1\ndata: {\"noteId\":\"n-1\",\"size\":\"1\"}\n\n";
        assert!(whole.contains(second), "{whole}");
        assert_eq!(ids(&watch("count=4", &[("last-event-id", "1")]).await.text()), ["2", "3"]);
        assert_eq!(ids(&watch("count=4&after=1", &[]).await.text()), ["2", "3"]);
        // A browser comes back with the URL that it began with.
        assert_eq!(ids(&watch("count=4&after=1", &[("last-event-id", "2")]).await.text()), ["3"]);
        let broken = watch("count=4", &[("last-event-id", "soon")]).await;
        assert_eq!((broken.status, broken.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_REQUEST"));
        // Errors have no position, and other framings no ids.
        let failed = watch("count=1&fail=true", &[]).await.text();
        assert!(failed.contains("\n\nevent: error\ndata: {\"error\":{"), "{failed}");
        assert!(rest.get("/v1/notes:watch?count=2").await.text().starts_with("[{"));
    }
}

/// Reads until the body has this text, and returns all that was read.
async fn until(body: &mut Incoming, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let frame = body.frame().await.unwrap_or_else(|| panic!("ended with {read}")).unwrap();
        read.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_of_events_says_that_it_lives() {
    let world = World::with(|config| {
        config
            + r#"
            [transcoding]
            sse_heartbeat_ms = 100
            [[method]]
            name = "echo.v1.EchoService/WatchNotes"
            policy = { allow = ["subject"], stream_idle_ms = 1500 }
            "#
    })
    .await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let watch = async |query: &str| {
            rest.open(Method::GET, &format!("/v1/notes:watch?{query}"), &[EVENTS], "").await
        };
        // Before the first message, between messages, and for a service that keeps even its header back.
        for (query, begin) in [("hang=true", ":\n\n"), ("count=1&hang=true", "id: 0\n")] {
            let response = watch(query).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            let mut body = response.into_body();
            let read = until(&mut body, ":\n\n:\n\n").await;
            assert!(read.starts_with(begin), "{read}");
        }
        let late = until(&mut watch("count=1&late=true").await.into_body(), "data: ").await;
        assert!(late.starts_with(":\n\n:\n\n") && late.contains("id: 0\ndata: "), "{late}");
        // Once the header has gone, a failure is an event.
        let response = watch("fail=true&late=true").await;
        assert_eq!(response.status(), StatusCode::OK);
        let failed = until(&mut response.into_body(), "event: error\n").await;
        assert!(failed.starts_with(":\n\n") && failed.contains("STREAM_BROKEN"), "{failed}");
        // A sign of life is not a message: the stream stands still.
        let idle = until(&mut watch("hang=true").await.into_body(), "event: error\n").await;
        assert!(idle.contains("STREAM_IDLE") && idle.matches(":\n\n").count() > 5, "{idle}");
        // Nobody waits for more than the header.
        let head = rest.send(Method::HEAD, "/v1/notes:watch?hang=true", &[EVENTS], "").await;
        assert_eq!((head.status, head.body.unwrap().len()), (StatusCode::OK, 0));
        // Other framings have nothing to say.
        let array = rest.get("/v1/notes:watch?fail=true&late=true").await;
        assert_eq!(array.status, StatusCode::CONFLICT);
    }
    world.until("nobody is served any more", || world.calls_behind() == 0).await;
}
