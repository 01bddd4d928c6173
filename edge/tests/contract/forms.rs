//! Forms in the place of JSON bodies: where their names lead, and where their files do.

use edge::contract::{Contract, HttpRule, MethodOverride, Overrides, PolicySource, RestOptions};
use edge::route::{self, Variables};
use edge::transcode::{self, Media, RequestError, RestRequest};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};

use super::support;

const SCHEMA: &str = r#"syntax = "proto3"; package p;
    import "google/api/httpbody.proto";
    import "google/protobuf/field_mask.proto";
    message Account {
        string display_name = 1; int64 limit = 2; repeated string tags = 3; map<string, int32> quotas = 4;
        Account parent = 5; bytes photo = 6; google.api.HttpBody scan = 7; repeated bytes pages = 8;
        repeated google.api.HttpBody scans = 9; oneof kind { string iban = 10; string wallet = 11; }
    }
    message Put { string id = 1; Account account = 2; google.protobuf.FieldMask update_mask = 3; repeated string list = 4; }
    message File { string id = 1; string title = 2; google.api.HttpBody content = 3; }
    service S {
        rpc Create(Account) returns (Account); rpc Update(Put) returns (Account); rpc Replace(Put) returns (Account);
        rpc List(Put) returns (Account); rpc Store(File) returns (Account); rpc Bare(google.api.HttpBody) returns (Account);
        rpc Collect(stream Account) returns (Account); rpc Get(Put) returns (Account);
    }"#;

/// What a form makes of a request: its message as JSON, or its violations.
struct Forms {
    pool: DescriptorPool,
    contract: Contract,
}

impl Forms {
    fn new(options: &transcode::Options) -> Self {
        let rule = |verb: &str, body: &str| {
            let (post, patch) = match verb {
                "PATCH" => (None, Some(format!("/v1/{{id}}:{body}"))),
                _ => (Some(format!("/v1/{verb}")), None),
            };
            HttpRule { post, patch, body: body.to_owned(), ..HttpRule::default() }
        };
        let method = |name: &str, http: HttpRule| MethodOverride {
            name: format!("p.S/{name}"),
            http: Some(vec![http]),
            policy: Some(support::anyone()),
            rest: Some(RestOptions { update_mask_from_body: name == "Update", ..RestOptions::default() }),
            ignore_unknown_fields: None,
        };
        let methods = vec![
            method("Create", rule("create", "*")),
            method("Update", rule("PATCH", "account")),
            method("Replace", rule("replace", "account")),
            method("List", rule("list", "list")),
            method("Store", rule("store", "content")),
            method("Bare", rule("bare", "*")),
            method("Collect", rule("collect", "*")),
            method("Get", rule("get", "")),
        ];
        let set = support::compile_text(SCHEMA);
        let pool = DescriptorPool::decode(set.as_slice()).unwrap();
        let sets = [(support::set(PolicySource::Config), set)];
        let overrides = Overrides { methods, services: Vec::new() };
        let contract = Contract::from_bytes(&sets, &overrides, &route::Options::default(), options).unwrap();
        Self { pool, contract }
    }

    fn send(
        &self,
        method: &str,
        content_type: &str,
        query: Option<&str>,
        body: &str,
    ) -> Result<Value, RequestError> {
        let (_, binding) = self.contract.bindings().find(|(found, _)| &*found.name == method).unwrap();
        let variables = Variables::default();
        let request = RestRequest {
            content_type: Some(content_type),
            ..support::rest(&variables, query, body.as_bytes())
        };
        let mut out = Vec::new();
        binding.encode_request(&request, &mut out)?;
        let service = self.pool.get_service_by_name("p.S").unwrap();
        let input = service.methods().find(|found| found.name() == method).unwrap().input();
        Ok(serde_json::to_value(DynamicMessage::decode(input, out.as_slice()).unwrap()).unwrap())
    }

    /// The same fields in both kinds of form come to the same.
    fn check(&self, method: &str, fields: &str, expect: Value) {
        assert_eq!(self.send(method, URLENCODED, None, fields).unwrap(), expect, "{method} {fields}");
        let parts: String = fields.split('&').map(|field| field.split_once('=').unwrap()).map(text).collect();
        assert_eq!(self.send(method, PARTS, None, &form(&parts)).unwrap(), expect, "{method} {fields}");
    }

    fn refused(&self, method: &str, content_type: &str, body: &str) -> (String, String) {
        let refused = self.send(method, content_type, None, body);
        let Err(RequestError::Invalid { violations }) = refused else {
            panic!("{method} {body} {refused:?}")
        };
        (violations[0].field.clone(), violations[0].description.clone())
    }
}

const URLENCODED: &str = "application/x-www-form-urlencoded";
const PARTS: &str = "multipart/form-data; boundary=b";

fn form(parts: &str) -> String {
    format!("{parts}--b--")
}

fn text((name, value): (&str, &str)) -> String {
    format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(name: &str, content_type: &str, bytes: &str) -> String {
    let content_type =
        if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
    format!(
        "--b\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n{content_type}\r\n{bytes}\r\n"
    )
}

#[test]
fn names_lead_where_json_keys_would() {
    let forms = Forms::new(&transcode::Options::default());
    let fields =
        "display_name=a&limit=7&tags=x&tags=y&quotas[day]=1&parent.displayName=b&parent.parent.limit=9";
    let account = json!({
        "displayName": "a", "limit": "7", "tags": ["x", "y"], "quotas": {"day": 1},
        "parent": {"displayName": "b", "parent": {"limit": "9"}},
    });
    forms.check("Create", fields, account.clone());
    forms.check("Replace", fields, json!({"account": account}));
    forms.check("Collect", fields, account.clone());
    let mask = "displayName,limit,tags,quotas,parent.displayName,parent.parent.limit";
    forms.check("Update", fields, json!({"account": account, "updateMask": mask}));
    // A name that a query could have is relative to the body here.
    assert_eq!(
        forms.refused("Replace", URLENCODED, "account.limit=7"),
        ("account.account.limit".into(), "is not a known field".into())
    );
    let parent = "parent.".repeat(1 << 20);
    assert_eq!(forms.refused("Create", URLENCODED, &format!("{parent}limit=1")).1, "is nested too deep");
    for (fields, field, description) in [
        ("what=1", "account.what", "is not a known field"),
        ("limit=many", "account.limit", "must be an integer"),
        ("limit=1&limit=1", "account.limit", "must be given once"),
        ("iban=a&wallet=b", "account.wallet", "excludes another field of its oneof that is set"),
        ("quotas=1", "account.quotas", "is a map: write name[key]=value"),
    ] {
        let told = (field.to_owned(), description.to_owned());
        assert_eq!(forms.refused("Replace", URLENCODED, fields), told, "{fields}");
        let parts: String = fields.split('&').map(|field| field.split_once('=').unwrap()).map(text).collect();
        assert_eq!(forms.refused("Replace", PARTS, &form(&parts)), told, "{fields}");
    }
    // The query reaches inside the body, and may say what the form says.
    let equal = forms.send("Replace", URLENCODED, Some("account.limit=7"), "limit=7").unwrap();
    assert_eq!(equal, json!({"account": {"limit": "7"}}));
    assert!(forms.send("Replace", URLENCODED, Some("account.limit=8"), "limit=7").is_err());
}

#[test]
fn files_become_bytes() {
    let forms = Forms::new(&transcode::Options::default());
    let parts = [
        text(("limit", "7")),
        file("photo", "image/png", "PNG"),
        file("scan", "", "PDF"),
        file("pages", "", "1"),
        file("pages", "", "2"),
        file("scans", "a/b", "3"),
        text(("tags", "late")),
    ];
    let account = json!({
        "limit": "7", "tags": ["late"], "photo": "UE5H", "pages": ["MQ==", "Mg=="],
        "scan": {"contentType": "application/octet-stream", "data": "UERG"},
        "scans": [{"contentType": "a/b", "data": "Mw=="}],
    });
    assert_eq!(forms.send("Create", PARTS, None, &form(&parts.concat())).unwrap(), account);
    assert_eq!(
        forms.send("Replace", PARTS, None, &form(&parts.concat())).unwrap(),
        json!({"account": account})
    );
    for (parts, field, description) in [
        (file("display_name", "", "x"), "display_name", "takes no file"),
        (file("quotas[a]", "", "x"), "quotas", "takes no file"),
        (file("what", "", "x"), "what", "is not a known field"),
        (file("photo", "", "x").repeat(2), "photo", "must be given once"),
        (file("scan", "", "x").repeat(2), "scan", "must be given once"),
    ] {
        let told = (field.to_owned(), description.to_owned());
        assert_eq!(forms.refused("Create", PARTS, &form(&parts)), told, "{parts}");
    }
}

#[test]
fn the_one_file_is_the_body_where_that_is_raw() {
    let forms = Forms::new(&transcode::Options::default());
    let png = file("any", "image/png", "PNG");
    let sent = |parts: &str, query| forms.send("Store", PARTS, query, &form(parts));
    let content = json!({"contentType": "image/png", "data": "UE5H"});
    assert_eq!(
        sent(&format!("{}{png}", text(("title", "a"))), Some("id=7")).unwrap(),
        json!({"id": "7", "title": "a", "content": content})
    );
    assert_eq!(sent(&format!("{png}{}", text(("title", "a"))), None).unwrap()["title"], "a", "in any order");
    assert_eq!(forms.send("Bare", PARTS, None, &form(&png)).unwrap(), content);
    let unknown = forms.send("Bare", PARTS, None, &form(&file("a", "", "x"))).unwrap();
    assert_eq!(unknown["contentType"], "application/octet-stream");
    // Without an envelope a form is bytes like any others.
    let bytes = forms.send("Store", URLENCODED, None, "title=a").unwrap();
    assert_eq!(bytes, json!({"content": {"contentType": URLENCODED, "data": "dGl0bGU9YQ=="}}));
    for (method, parts, field, description) in [
        ("Store", text(("title", "a")), "content", "needs a file part"),
        ("Store", png.repeat(2), "content", "takes one file part"),
        ("Store", format!("{png}{}", text(("what", "a"))), "what", "is not a known field"),
        (
            "Store",
            format!("{png}{}", text(("content.data", "a"))),
            "content.data",
            "is what the file part fills",
        ),
        ("Bare", String::new(), "", "needs a file part"),
        ("Bare", format!("{png}{}", text(("data", "a"))), "data", "is not a known field"),
    ] {
        let told = (field.to_owned(), description.to_owned());
        assert_eq!(forms.refused(method, PARTS, &form(&parts)), told, "{parts}");
    }
}

#[test]
fn switches_let_unknown_names_pass() {
    let fields = transcode::Options { ignore_unknown_fields: true, ..transcode::Options::default() };
    let query = transcode::Options { ignore_unknown_query: true, ..transcode::Options::default() };
    let listed = transcode::Options { ignored_query: vec!["what".into()], ..transcode::Options::default() };
    for options in [fields, query, listed] {
        Forms::new(&options).check("Create", "what=1&limit=7", json!({"limit": "7"}));
    }
}

#[test]
fn a_form_is_taken_where_there_are_fields_for_it() {
    let forms = Forms::new(&transcode::Options::default());
    let media = |method: &str, content_type: &str| {
        let (_, binding) = forms.contract.bindings().find(|(found, _)| &*found.name == method).unwrap();
        binding.media(Some(content_type)).ok()
    };
    for (method, urlencoded, parts) in [
        ("Create", Some(Media::Form), Some(Media::Multipart)),
        ("Replace", Some(Media::Form), Some(Media::Multipart)),
        ("Collect", Some(Media::Form), Some(Media::Multipart)),
        ("Store", Some(Media::Raw), Some(Media::Multipart)),
        ("List", None, None),
        ("Get", None, None),
    ] {
        assert_eq!((media(method, URLENCODED), media(method, PARTS)), (urlencoded, parts), "{method}");
    }
    let refused = forms.send("Create", PARTS, None, "");
    assert!(matches!(refused, Err(RequestError::MalformedMultipart { .. })), "{refused:?}");
}
