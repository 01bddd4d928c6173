//! Spans as a collector sees them: one of the edge and one of the service for each call, child under parent, in the caller's
//! trace.

use std::sync::Arc;
use std::time::Duration;

use chassis::run::Process;
use chassis::trace::TraceContext;
use chassis::{Call, Deadline};
use http::Method;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::Request;

use crate::client::{Http, Rest, unary};
use crate::collector::{Collector, attribute};
use crate::messages::*;
use crate::world::World;

const OUTSIDE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const SAMPLED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The spans of the edge and of the service, in this order.
fn pair(collector: &Collector, traceparent: &str) -> (Span, Span) {
    let context = TraceContext::parse(traceparent).unwrap();
    let spans = collector.trace(context.trace_id);
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let edge = spans.iter().find(|span| span.parent_span_id == context.span_id.to_be_bytes()).unwrap();
    let service = spans.iter().find(|span| span.parent_span_id == edge.span_id).unwrap();
    for span in [edge, service] {
        assert_eq!(span.kind, SpanKind::Server as i32);
        assert_eq!(attribute(span, "rpc.system"), "grpc");
        assert_eq!(attribute(span, "rpc.service"), "echo.v1.EchoService");
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    }
    (edge.clone(), service.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_leaves_a_span_of_the_edge_and_one_of_the_service_in_the_callers_trace() {
    let collector = Collector::default();
    let process = Process::default();
    let config = chassis::config::Telemetry {
        log: "off".to_owned(),
        otlp_endpoint: Some(collector.start(&process.drain).await),
        ..Default::default()
    };
    let telemetry = chassis::telemetry::start("edge", &config).unwrap();
    let everything = |config: String| format!("{config}\n[telemetry]\nsample_ratio = 1.0\n");
    let world = World::around(Process { spans: telemetry.spans(), ..process }, everything).await;

    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let reply = rest.send(Method::GET, "/v1/notes/missing", &[("traceparent", OUTSIDE)], "").await;
    assert_eq!(reply.status, 404);
    for traceparent in [SAMPLED, UNSAMPLED] {
        let trace = TraceContext::parse(traceparent).unwrap();
        let call = Call {
            caller: Arc::new(chassis::Caller { principal: chassis::Principal::Service, service: None }),
            deadline: Deadline::after(Duration::from_secs(5)),
            transaction_id: "txn-1".into(),
            hops: 0,
            trace,
            token: None,
        };
        let channel = world.channel("svc-docs").for_call(&call);
        unary::<_, _, WhoAmIResponse>(channel, "/echo.v1.EchoService/WhoAmI", Request::new(WhoAmIRequest {}))
            .await
            .unwrap();
    }
    world.until("both have ended behind the edge", || world.calls_behind() == 0).await;
    tokio::task::spawn_blocking(move || telemetry.flush()).await.unwrap();

    let (edge, service) = pair(&collector, OUTSIDE);
    assert_eq!((edge.name.as_str(), service.name.as_str()), ("echo.v1.EchoService/GetNote", &*edge.name));
    assert_eq!(attribute(&edge, "rpc.method"), "GetNote");
    assert_eq!(attribute(&edge, "http.route"), "/v1/notes/{note_id}");
    assert_eq!(attribute(&edge, "http.request.method"), "GET");
    assert_eq!(attribute(&edge, "http.response.status_code"), "404");
    for span in [&edge, &service] {
        assert_eq!(attribute(span, "rpc.grpc.status_code"), "5");
        assert_eq!(span.status.clone().unwrap_or_default().code, 0, "what the caller got wrong is no fault");
    }
    let (edge, _) = pair(&collector, SAMPLED);
    assert_eq!(attribute(&edge, "rpc.grpc.status_code"), "0");
    let unsampled = TraceContext::parse(UNSAMPLED).unwrap();
    assert_eq!(collector.trace(unsampled.trace_id), [], "the mesh has decided not to record it");
    assert_eq!(collector.count(), 4, "no span but those of calls");
}
