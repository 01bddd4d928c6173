use super::*;

fn cors(tables: &str) -> anyhow::Result<Cors> {
    #[derive(serde::Deserialize)]
    struct File {
        cors: Vec<Config>,
    }
    Cors::new(&toml::from_str::<File>(tables)?.cors)
}

fn asked(cors: &Cors, origins: &[&'static str]) -> Vec<(String, String)> {
    let origins = origins.iter().map(|origin| (ORIGIN, HeaderValue::from_static(origin)));
    let mut headers = HeaderMap::new();
    for (name, value) in origins {
        headers.append(name, value);
    }
    let fields = cors.ask(&headers);
    fields.fields().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[test]
fn an_origin_is_granted_what_its_own_policy_says() {
    let cors = cors(
        "[[cors]]\norigins = [\"https://app.bank.example\", \"http://localhost:3000\"]\nexpose = [\"ETag\"]\n\
         [[cors]]\norigins = [\"https://*.partner.example\", \"https://*.eu.partner.example:8443\"]\ncredentials = true\n\
         expose = []",
    )
    .unwrap();
    let check = |origin: &'static str, expect: Option<(&str, bool)>| {
        let fields = asked(&cors, &[origin]);
        let value =
            |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let expose = value("access-control-expose-headers");
        let credentials = value("access-control-allow-credentials") == Some("true");
        assert_eq!(expose.map(|expose| (expose, credentials)), expect, "{origin}");
        assert_eq!(value("access-control-allow-origin"), expect.map(|_| origin), "{origin}");
        assert_eq!(value("vary"), Some("origin"), "whoever asks, the answer depends on it: {origin}");
    };
    let plain = Some(("etag, grpc-status, grpc-message, grpc-status-details-bin", false));
    let credentials = Some(("grpc-status, grpc-message, grpc-status-details-bin", true));
    check("https://app.bank.example", plain);
    check("http://localhost:3000", plain);
    check("https://a.partner.example", credentials);
    check("https://a.eu.partner.example:8443", credentials);
    for stranger in [
        "https://app.bank.example.evil.test",
        "https://evilapp.bank.example",
        "https://app.bank.example:8443",
        "https://APP.bank.example",
        "http://app.bank.example",
        "http://localhost:3001",
        "https://partner.example",
        "https://.partner.example",
        "https://a.b.partner.example",
        "https://evil.test/.partner.example",
        "https://evil.test?.partner.example",
        "https://a.partner.example:8443",
        "http://a.partner.example",
        "https://evilpartner.example",
        "null",
        "*",
        "",
    ] {
        check(stranger, None);
    }
    assert_eq!(asked(&cors, &[]).len(), 1);
    assert_eq!(
        asked(&cors, &["https://app.bank.example", "https://app.bank.example"]).len(),
        1,
        "no browser sends two"
    );
    assert!(
        asked(&Cors::default(), &["https://app.bank.example"]).is_empty(),
        "it is off where nothing is configured"
    );
}

#[test]
fn a_policy_that_would_grant_too_much_or_nothing_is_refused() {
    let check = |table: &str, problem: &str| {
        let error = cors(&format!("[[cors]]\n{table}")).unwrap_err();
        assert!(format!("{error:#}").contains(problem), "{table}: {error:#}");
    };
    check("origins = []", "origins is empty");
    for (origin, problem) in [
        ("*", "anybody"),
        ("null", "anybody"),
        ("app.example", "scheme://host"),
        ("http://app.example", "is https"),
        ("ftp://app.example", "is https"),
        ("https://app.example/", "no host"),
        ("https://App.example", "no host"),
        ("https://a b.example", "no host"),
        ("https://user@app.example", "no host"),
        ("https://app.example:443", "this port"),
        ("https://app.example:08443", "this port"),
        ("https://app.example:x", "this port"),
        ("https://*", "no host"),
        ("https://*.com", "one label"),
        ("https://*.*.example.com", "one label"),
        ("https://a*.example.com", "no host"),
        ("https://a.*.example.com", "no host"),
    ] {
        check(&format!("origins = [{origin:?}]"), problem);
    }
    check("origins = [\"https://a.example\", \"https://a.example\"]", "there twice");
    check("origins = [\"https://a.example\"]\nmethods = [\"get\"]", "word in capitals");
    check("origins = [\"https://a.example\"]\nheaders = [\"*\"]", "name of a header");
    check("origins = [\"https://a.example\"]\nexpose = [\"a b\"]", "name of a header");
}

#[test]
fn a_preflight_allows_what_is_routed_and_open() {
    let cors = cors(
        "[[cors]]\norigins = [\"https://a.example\"]\n[[cors]]\norigins = [\"https://b.example\"]\n\
         methods = [\"GET\"]\nheaders = [\"Authorization\"]\nmax_age_s = 60\nprivate_network = true",
    )
    .unwrap();
    let check = |origin: &'static str, fields: &[(HeaderName, &'static str)], routed: Option<&str>| {
        let mut headers = HeaderMap::from_iter([
            (ORIGIN, HeaderValue::from_static(origin)),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("DELETE")),
        ]);
        headers.extend(fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
        let asked = cors.ask(&headers);
        let (grant, wanted) = asked.preflight(&Verb::OPTIONS, &headers)?;
        let fields = HeaderMap::from_iter(grant.preflight(&headers, &wanted, routed)?);
        Some(fields)
    };
    let text = |fields: &HeaderMap, name: HeaderName| fields[name].to_str().unwrap().to_owned();
    let routed = Some("DELETE, GET, HEAD, OPTIONS");
    let open = check("https://a.example", &[], routed).unwrap();
    assert_eq!(text(&open, ACCESS_CONTROL_ALLOW_METHODS), "DELETE, GET, HEAD, OPTIONS");
    assert_eq!(text(&open, ACCESS_CONTROL_MAX_AGE), "600");
    assert!(text(&open, VARY).starts_with("origin, access-control-request-method"));
    let some = check("https://b.example", &[], routed).unwrap();
    assert_eq!(text(&some, ACCESS_CONTROL_ALLOW_METHODS), "GET");
    assert_eq!(text(&some, ACCESS_CONTROL_ALLOW_HEADERS), "authorization");
    assert_eq!(text(&some, ACCESS_CONTROL_MAX_AGE), "60");
    // A path that answers to every verb answers to the one that is asked for.
    assert_eq!(text(&check("https://a.example", &[], None).unwrap(), ACCESS_CONTROL_ALLOW_METHODS), "DELETE");
    assert_eq!(text(&check("https://b.example", &[], None).unwrap(), ACCESS_CONTROL_ALLOW_METHODS), "");
    assert!(check("https://c.example", &[], routed).is_none());

    let private = [(REQUEST_PRIVATE_NETWORK, "true")];
    assert!(check("https://a.example", &private, routed).is_none());
    assert_eq!(text(&check("https://b.example", &private, routed).unwrap(), ALLOW_PRIVATE_NETWORK), "true");
}
