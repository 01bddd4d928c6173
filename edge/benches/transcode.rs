//! What each stage of transcoding costs, beside the way through prost-reflect's dynamic messages on the same bytes. Both ways of
//! a row are held against one another before either is measured.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up has nothing to say")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use edge::route::{Template, Variables};
use edge::transcode::{
    Binding, Failed, Looks, Marks, Options, RestRequest, Source, Types, http_status_of, status_json,
};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};

const ID: &str = "01936b2e-7f4c-7d3a-9c1e-0a1b2c3d4e5f";

/// One entry, much as the ledger has it.
const ENTRY: &str = r#"{"entryId":"01936b2e-7f4c-7d3a-9c1e-0a1b2c3d4e5f","accountId":"01936b2e-7f4c-7d3a-9c1e-0a1b2c3d4e5f","amount":"-129900","currencyCode":"EUR","balanceAfter":"1204577","version":"4711","reference":"Invoice 2026-0815, thank you","bookTime":"2026-11-24T09:30:00.123456Z"}"#;

/// The bench schema twice: as plans and as descriptors.
struct Schema {
    pool: DescriptorPool,
    types: Arc<Types>,
}

impl Schema {
    fn compile() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut compiler = protox::Compiler::new([root.join("tests/proto"), root.join("proto")]).unwrap();
        compiler.include_imports(true).open_file("bench/v1/bench_service.proto").unwrap();
        let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
        let types = Arc::new(Types::compile(&pool).unwrap());
        Self { pool, types }
    }

    fn message(&self, name: &str) -> MessageDescriptor {
        self.pool.get_message_by_name(name).unwrap()
    }

    /// A binding whose request and response are the same message.
    fn binding(&self, message: &str, template: &str, body: &str) -> Binding {
        let source = Source {
            input: message,
            output: message,
            client_streaming: false,
            server_streaming: false,
            http_method: "POST",
            template: &Template::parse(template).unwrap(),
            body,
            response_body: "",
            looks: Looks::default(),
            marks: Marks::default(),
            ignore_unknown_fields: false,
        };
        Binding::compile(self.types.clone(), Arc::new(Options::default()), &source).unwrap()
    }
}

fn from_json(descriptor: &MessageDescriptor, json: &[u8]) -> DynamicMessage {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    DynamicMessage::deserialize(descriptor.clone(), &mut deserializer).unwrap()
}

fn encode(binding: &Binding, request: &RestRequest<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    binding.encode_request(request, &mut wire).unwrap();
    wire
}

fn decode(binding: &Binding, wire: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    binding.decode_response(wire, &mut json).unwrap();
    json
}

fn reflected(descriptor: &MessageDescriptor, wire: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&DynamicMessage::decode(descriptor.clone(), wire).unwrap()).unwrap()
}

/// Measures both ways of a stage.
fn pair<A, B>(
    criterion: &mut Criterion,
    stage: &str,
    mut edge: impl FnMut() -> A,
    mut reflect: impl FnMut() -> B,
) {
    let mut group = criterion.benchmark_group(stage);
    group.bench_function("edge", |bencher| bencher.iter(|| black_box(edge())));
    group.bench_function("prost-reflect", |bencher| bencher.iter(|| black_box(reflect())));
    group.finish();
}

fn value(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap()
}

fn bodies(criterion: &mut Criterion) {
    let schema = Schema::compile();
    let small = format!("{{\"requestId\":\"{ID}\",\"entry\":{ENTRY}}}");
    let large = format!("{{\"entries\":[{}],\"nextPageToken\":\"{ID}\"}}", [ENTRY; 100].join(","));
    for (size, message, json) in [
        ("small", "bench.v1.CreateEntryRequest", small.as_bytes()),
        ("large", "bench.v1.ListEntriesResponse", large.as_bytes()),
    ] {
        let (binding, descriptor) = (schema.binding(message, "/v1/bench", "*"), schema.message(message));
        let nothing = Variables::default();
        let request = RestRequest { body: json, ..RestRequest::new(&nothing) };
        let wire = encode(&binding, &request);
        assert_eq!(wire, from_json(&descriptor, json).encode_to_vec());
        assert_eq!(value(&decode(&binding, &wire)), value(&reflected(&descriptor, &wire)));
        pair(
            criterion,
            &format!("JSON to wire, {size}"),
            || encode(&binding, black_box(&request)),
            || from_json(&descriptor, black_box(json)).encode_to_vec(),
        );
        pair(
            criterion,
            &format!("wire to JSON, {size}"),
            || decode(&binding, black_box(&wire)),
            || reflected(&descriptor, black_box(&wire)),
        );
    }
}

/// prost-reflect knows neither paths nor queries: its side is handed the fields by name and number of its type.
fn binding(criterion: &mut Criterion) {
    let schema = Schema::compile();
    let (read, list) = ("bench.v1.GetEntryRequest", "bench.v1.ListEntriesRequest");
    let path = schema.binding(read, "/v1/bench/{account_id}/entries/{entry_id}", "");
    let variables = Variables(vec![ID.into(), ID.into()]);
    let request = RestRequest::new(&variables);
    let descriptor = schema.message(read);
    let fill = |fields: &[(&str, Value)], descriptor: &MessageDescriptor| {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (name, value) in fields {
            message.try_set_field_by_name(name, value.clone()).unwrap();
        }
        message.encode_to_vec()
    };
    let id = || Value::String(ID.to_owned());
    let by_name = [("account_id", id()), ("entry_id", id())];
    assert_eq!(encode(&path, &request), fill(&by_name, &descriptor));
    let ours = || encode(&path, black_box(&request));
    pair(criterion, "two path variables", ours, || fill(black_box(&by_name), &descriptor));

    let query = schema.binding(list, "/v1/bench", "");
    let nothing = Variables::default();
    let text = format!("account_id={ID}&page_size=100");
    let request = RestRequest { query: Some(&text), ..RestRequest::new(&nothing) };
    let descriptor = schema.message(list);
    let by_name = [("account_id", id()), ("page_size", Value::I32(100))];
    assert_eq!(encode(&query, &request), fill(&by_name, &descriptor));
    let ours = || encode(&query, black_box(&request));
    pair(criterion, "two query parameters", ours, || fill(black_box(&by_name), &descriptor));
}

fn errors(criterion: &mut Criterion) {
    let pool = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
    let descriptor = pool.get_message_by_name("google.rpc.Status").unwrap();
    let json = br#"{"code":9,"message":"insufficient funds","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"INSUFFICIENT_FUNDS","domain":"ledger.v1","metadata":{"account_id":"01936b2e-7f4c-7d3a-9c1e-0a1b2c3d4e5f"}},
        {"@type":"type.googleapis.com/google.rpc.PreconditionFailure","violations":[{"type":"BALANCE","subject":"01936b2e","description":"available is below the amount"}]}]}"#;
    let details = from_json(&descriptor, json).encode_to_vec();
    let ours = |details: &[u8]| {
        let failed = Failed {
            http_status: http_status_of(9),
            grpc_code: 9,
            message: "insufficient funds",
            details: Some(details),
        };
        let mut json = Vec::new();
        status_json(&failed, None, &mut json);
        json
    };
    assert_eq!(
        value(&ours(&details))["error"]["details"],
        value(&reflected(&descriptor, &details))["details"]
    );
    pair(
        criterion,
        "error with two details",
        || ours(black_box(&details)),
        || reflected(&descriptor, black_box(&details)),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = bodies, binding, errors
}
criterion_main!(benches);
