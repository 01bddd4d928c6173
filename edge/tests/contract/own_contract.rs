//! The project's own contract through the edge's eyes: every RPC has a policy and the routes it promises, requests become the
//! messages the services see, and answers look as the options say.

use edge::contract::{Contract, DescriptorSet, Overrides, PolicySource};
use edge::route::{Refusal, Variables};
use edge::transcode::{Binding, BindingKind, RequestError, RestRequest};
use edge::{route, transcode};
use prost::Message as _;
use proto::docs::v1::UploadContentRequest;
use proto::google::api::HttpBody;
use proto::ledger::v1::{CreateTransferRequest, ListEntriesRequest};

use super::support;

pub fn contract() -> Contract {
    let set = DescriptorSet {
        path: "causeway.binpb".into(),
        upstream: "mesh".into(),
        policy_source: PolicySource::Descriptor,
    };
    Contract::from_bytes(
        &[(set, proto::DESCRIPTOR_SET.to_vec())],
        &Overrides::default(),
        &route::Options::default(),
        &transcode::Options::default(),
    )
    .unwrap()
}

fn matched<'a>(contract: &'a Contract, method: &http::Method, path: &'a str) -> (&'a Binding, Variables<'a>) {
    let found = contract.route(method, path).unwrap();
    (found.binding, found.variables)
}

fn violations(verdict: Result<(), RequestError>) -> Vec<(String, String)> {
    match verdict {
        Err(RequestError::Invalid { violations }) => {
            violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
        }
        other => panic!("expected violations, got {other:?}"),
    }
}

#[test]
fn every_method_is_known_by_its_grpc_path_and_the_services_own_ones_have_no_route() {
    let contract = contract();
    assert!(contract.methods().len() > 20);
    for method in contract.methods() {
        assert_eq!(contract.by_grpc_path(&method.path).unwrap().name, method.name);
        let has_route = contract.bindings().any(|(other, _)| other.path == method.path);
        let is_public = method.policy.visible_on(edge::policy::Listener::Public);
        assert!(!has_route || is_public, "{} has a route and no public policy", method.path);
    }
}

#[test]
fn verbs_share_paths_with_variables() {
    let contract = contract();
    let name = |method: http::Method, path: &str| {
        contract.route(&method, path).map(|found| found.method.name.to_string())
    };
    assert_eq!(name(http::Method::POST, "/v1/transfers/t1:post").as_deref(), Ok("PostTransfer"));
    assert_eq!(name(http::Method::POST, "/v1/transfers").as_deref(), Ok("CreateTransfer"));
    assert_eq!(name(http::Method::GET, "/v1/transfers/t1").as_deref(), Ok("GetTransfer"));
    assert_eq!(name(http::Method::HEAD, "/v1/transfers/t1").as_deref(), Ok("GetTransfer"));
    assert_eq!(name(http::Method::GET, "/v1/transfers/t1/"), Err(Refusal::UnknownPath));
    assert_eq!(name(http::Method::GET, "/v1/transfers/"), Err(Refusal::UnknownPath));
    assert_eq!(name(http::Method::GET, "/v2/transfers"), Err(Refusal::UnknownPath));
    assert_eq!(name(http::Method::GET, "/v1/transfers/%00"), Err(Refusal::Malformed));
    assert_eq!(name(http::Method::GET, "/v1/transfers/%zz"), Err(Refusal::Malformed));
    assert_eq!(name(http::Method::GET, "/v1/transfers/%ff"), Err(Refusal::Malformed));
    assert_eq!(name(http::Method::GET, &"/a".repeat(65)), Err(Refusal::TooLong));
    let allow = |allow: &str| Err(Refusal::MethodNotAllowed { allow: allow.to_owned() });
    assert_eq!(name(http::Method::DELETE, "/v1/transfers/t1"), allow("GET, HEAD, OPTIONS"));
    assert_eq!(name(http::Method::GET, "/v1/transfers/t1:post"), allow("OPTIONS, POST"));
    assert_eq!(name(http::Method::PATCH, "/v1/transfers"), allow("GET, HEAD, OPTIONS, POST"));
}

#[test]
fn a_transfer_is_encoded_as_its_service_reads_it() {
    let contract = contract();
    let (binding, variables) = matched(&contract, &http::Method::POST, "/v1/transfers");
    let body = br#"{"debitAccountId":"a","credit_account_id":"b","amount":{"currencyCode":"EUR","minorUnits":"1250"}}"#;
    let request = RestRequest {
        idempotency_key: Some("key-1"),
        content_type: Some("application/json"),
        ..support::rest(&variables, None, body)
    };
    let mut out = Vec::new();
    binding.encode_request(&request, &mut out).unwrap();
    let message = CreateTransferRequest::decode(out.as_slice()).unwrap();
    assert_eq!(message.request_id, "key-1");
    assert_eq!(message.debit_account_id, "a");
    let amount = message.amount.unwrap();
    assert_eq!((amount.currency_code.as_str(), amount.minor_units), ("EUR", 1250));

    // The header and the body may agree on the request id, not differ.
    for (id, agrees) in [("key-1", true), ("key-2", false)] {
        let body = format!("{{\"requestId\":\"{id}\"}}");
        let request = RestRequest {
            idempotency_key: Some("key-1"),
            ..support::rest(&variables, None, body.as_bytes())
        };
        let verdict = binding.encode_request(&request, &mut Vec::new());
        if agrees {
            assert_eq!(verdict, Ok(()));
        } else {
            assert_eq!(violations(verdict)[0].0, "request_id");
        }
    }
}

#[test]
fn all_violations_are_told_at_once_by_path_and_without_their_values() {
    let contract = contract();
    let (binding, variables) = matched(&contract, &http::Method::POST, "/v1/transfers");
    let body = br#"{"debitAccountId":7,"amount":{"minorUnits":"12.5","currency":"EUR"},"debitAccountId":"x","nope":{"a":[1]}}"#;
    let found = violations(
        binding.encode_request(&support::rest(&variables, Some("extra=1"), body), &mut Vec::new()),
    );
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        ["extra", "debit_account_id", "amount.minor_units", "amount.currency", "debit_account_id", "nope"]
    );
    assert!(found.iter().all(|(_, description)| !description.contains("12.5")));
}

#[test]
fn a_list_is_asked_for_by_path_and_query() {
    let contract = contract();
    let (binding, variables) = matched(&contract, &http::Method::GET, "/v1/accounts/0190-a/entries");
    let mut out = Vec::new();
    binding
        .encode_request(&support::rest(&variables, Some("pageSize=20&page_token=a%2Bb%3D"), b""), &mut out)
        .unwrap();
    let message = ListEntriesRequest::decode(out.as_slice()).unwrap();
    assert_eq!(
        (message.account_id.as_str(), message.page_size, message.page_token.as_str()),
        ("0190-a", 20, "a+b=")
    );
    for (query, field) in [
        ("pageSize=20&page_size=20", "page_size"),
        ("pageSize=x", "page_size"),
        ("page_size=%zz", "page_size"),
        ("accountId=other", "account_id"),
        ("nope=1", "nope"),
    ] {
        let verdict = binding.encode_request(&support::rest(&variables, Some(query), b""), &mut Vec::new());
        assert_eq!(violations(verdict)[0].0, field, "{query}");
    }
    let verdict = binding.encode_request(&support::rest(&variables, None, b"{}"), &mut Vec::new());
    assert_eq!(violations(verdict).len(), 1, "a body on a GET is refused");
}

#[test]
fn empty_lists_are_printed_where_the_method_says_so() {
    let contract = contract();
    let (binding, _) = matched(&contract, &http::Method::GET, "/v1/customers/c/accounts");
    let mut out = Vec::new();
    binding.decode_response(b"", &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"accounts":[],"nextPageToken":""}"#);
}

#[test]
fn a_created_resource_has_status_location_and_etag() {
    let contract = contract();
    let (binding, _) = matched(&contract, &http::Method::POST, "/v1/documents");
    let document = proto::docs::v1::Document {
        document_id: "d/1 ü".into(),
        etag: "7".into(),
        size_bytes: 5,
        create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 5_000_000 }),
        ..Default::default()
    };
    let bytes = document.encode_to_vec();
    assert_eq!(binding.success_status(), 201);
    assert_eq!(binding.location(&bytes).as_deref(), Some("/v1/documents/d%2F1%20%C3%BC"));
    assert_eq!(binding.etag(&bytes).as_deref(), Some("\"7\""));
    let mut out = Vec::new();
    binding.decode_response(&bytes, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"documentId":"d/1 ü","customerId":"","title":"","contentType":"","sizeBytes":"5","sha256":"","#,
            r#""createTime":"1970-01-01T00:00:00.005Z","etag":"7"}"#
        )
    );
    assert_eq!(binding.location(b""), None);
    assert_eq!(binding.etag(b""), None);
}

#[test]
fn an_upload_names_its_document_once() {
    let contract = contract();
    let (binding, variables) = matched(&contract, &http::Method::PUT, "/v1/documents/d1/content");
    assert_eq!(binding.kind(), BindingKind::HttpBodyUpload);
    let first =
        RestRequest { content_type: Some("text/plain"), ..support::rest(&variables, None, b"hello ") };
    let mut out = Vec::new();
    binding.encode_request(&first, &mut out).unwrap();
    let message = UploadContentRequest::decode(out.as_slice()).unwrap();
    let content = message.content.unwrap();
    assert_eq!(
        (message.document_id.as_str(), content.content_type.as_str(), &content.data[..]),
        ("d1", "text/plain", &b"hello "[..])
    );
    out.clear();
    binding.upload_next(b"world", &mut out);
    let message = UploadContentRequest::decode(out.as_slice()).unwrap();
    let content = message.content.unwrap();
    assert_eq!(
        (message.document_id.as_str(), content.content_type.as_str(), &content.data[..]),
        ("", "", &b"world"[..])
    );
}

#[test]
fn a_download_is_raw_bytes() {
    let contract = contract();
    let (binding, _) = matched(&contract, &http::Method::GET, "/v1/documents/d1/content");
    assert_eq!(binding.kind(), BindingKind::HttpBodyDownload);
    let body = HttpBody { content_type: "text/csv".into(), data: (&b"a,b"[..]).into(), ..Default::default() };
    let bytes = body.encode_to_vec();
    let body = binding.http_body(&bytes).unwrap();
    assert_eq!((body.content_type, body.data), ("text/csv", &b"a,b"[..]));
}

#[test]
fn retry_delays_are_found_among_the_details() {
    let details = tonic_types::pb::Status {
        code: 14,
        message: String::new(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: tonic_types::pb::RetryInfo {
                retry_delay: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
            }
            .encode_to_vec(),
        }],
    }
    .encode_to_vec();
    assert_eq!(transcode::retry_after(&details), Some(std::time::Duration::from_millis(2500)));
    assert_eq!(transcode::retry_after(b""), None);
    assert_eq!(transcode::retry_after(b"\xff"), None);
}
