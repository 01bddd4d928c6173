//! B: HTTP/1.1 heads and bodies that two parsers could read in two ways. Whoever stands before the edge may read them the other
//! way; one of the two would then take a piece of one client's request for another client's. So the edge serves none of it.

use std::sync::Arc;
use std::time::Duration;

use e2e::World;
use e2e::wire::{Said, Wire, exchange};
use futures::StreamExt as _;
use serde_json::Value;

crate::tests![
    b1_no_obfuscation_of_the_two_lengths_smuggles_a_request,
    b2_what_follows_a_wish_to_upgrade_is_a_request_of_its_own,
    b3_http_1_0_has_no_chunks_and_no_body_without_a_length,
    b4_an_answer_belongs_to_who_asked_and_is_kept_by_nobody,
    b5_a_body_nobody_read_is_no_request,
    b6_a_length_has_one_form,
    b7_chunks_have_one_form_and_their_trailers_say_nothing,
    b8_a_field_line_has_one_form,
    b10_a_target_names_this_host_and_no_tunnel,
    b11_a_connection_in_the_clear_is_not_to_be_had,
];

/// A request that nobody sent: an answer to it is what an attacker wants.
const SMUGGLED: &str = "GET /v1/echo/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HEAD: &str = "POST /v1/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
const GET: &str = "GET /v1/echo/first HTTP/1.1\r\nhost: localhost\r\n";

/// How many attacks are under way at once.
const AT_ONCE: usize = 16;

/// Sends each attack on a connection of its own; returns those for which `right` does not hold.
async fn wrong(
    world: &World,
    attacks: Vec<(String, Vec<u8>)>,
    right: impl Fn(&Said) -> bool,
) -> Vec<(String, Vec<u16>, bool)> {
    let sent = futures::stream::iter(attacks).map(|(name, bytes)| async move {
        let said = exchange(world, bytes).await;
        (name, said)
    });
    let said: Vec<_> = sent.buffer_unordered(AT_ONCE).collect().await;
    said.into_iter()
        .filter(|(_, said)| !right(said))
        .map(|(name, said)| (name, said.statuses(), said.closed))
        .collect()
}

/// One refusal, and the connection is over.
fn refused_and_closed(said: &Said) -> bool {
    said.closed && said.statuses() == [400]
}

/// The spellings of `transfer-encoding: chunked` that some parser takes for it, after smuggler.py's exhaustive list.
fn spellings() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = [
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked\r\n x",
        "Content-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ]
    .map(|line| (line.to_owned(), line.as_bytes().to_vec()))
    .into();
    let odd = (0x00..=0x20_u8).chain([0x22, 0x3a, 0x3b, 0x7f, 0x80, 0x85, 0xa0, 0xc2, 0xff]);
    for byte in odd {
        for (before, after) in [
            ("Transfer-Encoding:", "chunked"),
            ("Transfer-Encoding", ": chunked"),
            ("", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", ""),
            ("Transfer-Encoding: chunked", "X: X"),
            ("Transfer-Encoding: chunked\r", "X: X"),
            ("X: X\r", "Transfer-Encoding: chunked"),
        ] {
            let line = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            found.push((line.escape_ascii().to_string(), line));
        }
    }
    found
}

async fn b1_no_obfuscation_of_the_two_lengths_smuggles_a_request(world: Arc<World>) {
    let spellings = spellings();
    assert!(spellings.len() > 300, "{}", spellings.len());
    let mut attacks = Vec::new();
    for (name, spelling) in &spellings {
        // The one reads to the empty chunk and finds a request; the other reads so many bytes, and finds one behind them.
        let by_chunks = format!("0\r\n\r\n{SMUGGLED}");
        let by_length = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        let digits = by_length.find('\n').unwrap() + 1;
        for (body, length) in [(&by_chunks, by_chunks.len()), (&by_length, digits)] {
            let length = format!("content-length: {length}");
            for lines in [[spelling.as_slice(), length.as_bytes()], [length.as_bytes(), spelling.as_slice()]]
            {
                let head = [HEAD.as_bytes(), lines[0], b"\r\n", lines[1], b"\r\n\r\n"].concat();
                let kind = if body.starts_with('0') { "CL.TE" } else { "TE.CL" };
                attacks.push((format!("{kind} {name}"), [head, body.clone().into_bytes()].concat()));
            }
        }
    }
    let wrong = wrong(&world, attacks, refused_and_closed).await;
    assert!(wrong.is_empty(), "{} of them: {wrong:#?}", wrong.len());
}

async fn b2_what_follows_a_wish_to_upgrade_is_a_request_of_its_own(world: Arc<World>) {
    // It has no token of its own, and what it follows had one: whoever took it for more of the same would serve it.
    let secret = "GET /v1/customers HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for wish in ["websocket", "h2c", "TLS/1.3", "foo"] {
        let head = format!(
            "GET /v1/echo/first HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nupgrade: {wish}\r\n\
             connection: upgrade\r\n\r\n{secret}",
            world.staff()
        );
        let said = exchange(&world, head).await;
        assert_eq!(said.statuses(), [200, 401], "{wish}: {}", said.text());
    }
}

async fn b3_http_1_0_has_no_chunks_and_no_body_without_a_length(world: Arc<World>) {
    let chunks = format!(
        "POST /v1/echo HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let said = exchange(&world, chunks).await;
    assert!(refused_and_closed(&said), "{}", said.text());
    // A body that ends with its connection ends where an attacker wants it to end.
    for version in ["1.0", "1.1"] {
        let endless = format!(
            "POST /v1/echo HTTP/{version}\r\nhost: localhost\r\ncontent-type: application/json\r\n\r\n{{\"text\":\"smuggled\"}}\r\n\r\n"
        );
        let said = exchange(&world, endless).await;
        assert!(said.closed && !said.text().contains("smuggled"), "HTTP/{version}: {}", said.text());
    }
}

async fn b4_an_answer_belongs_to_who_asked_and_is_kept_by_nobody(world: Arc<World>) {
    let (one, other) = (world.customer().await, world.customer().await);
    let (first, second) = (world.account(&one, "EUR", 0).await, world.account(&other, "EUR", 0).await);
    let ask = async |token: &str, path: &str, host: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        exchange(&world, head).await.text()
    };
    // The same path for two people, under two hosts: no key of any cache is without the principal.
    for _ in 0..3 {
        for host in ["localhost", "elsewhere.example"] {
            for (who, own, foreign) in [(&one, &first, &second), (&other, &second, &first)] {
                let customer = ask(&who.token, "/v1/transfers", host).await;
                assert!(customer.starts_with("HTTP/1.1 200"), "{customer}");
                let account = ask(&who.token, &format!("/v1/accounts/{own}"), host).await;
                assert!(account.contains(own.as_str()) && !account.contains(foreign.as_str()), "{account}");
                let head = account.to_ascii_lowercase();
                let kept = head.lines().filter(|line| line.starts_with("cache-control:"));
                let kept = kept
                    .filter(|line| ["public", "max-age", "s-maxage"].iter().any(|word| line.contains(word)));
                assert_eq!(kept.count(), 0, "{account}");
                assert!(!head.contains("\nage:") && !head.contains("\nx-cache"), "{account}");
                let refused = ask(&who.token, &format!("/v1/accounts/{foreign}"), host).await;
                assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
            }
        }
    }
}

async fn b5_a_body_nobody_read_is_no_request(world: Arc<World>) {
    let length = format!("content-length: {}\r\n", SMUGGLED.len());
    let chunked = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let json = "content-type: application/json\r\n";
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
    let refused = [
        ("an early 401", format!("{}{json}{length}\r\n{SMUGGLED}", post("/v1/transfers")), 401),
        ("an early 404", format!("{}{json}{length}\r\n{SMUGGLED}", post("/v1/nowhere")), 404),
        (
            "an early 415",
            format!("{}content-type: text/plain\r\n{length}\r\n{SMUGGLED}", post("/v1/echo")),
            415,
        ),
        ("a verb", format!("DELETE /v1/transfers HTTP/1.1\r\nhost: a\r\n{length}\r\n{SMUGGLED}"), 405),
        ("CL.0", format!("{GET}{length}\r\n{SMUGGLED}"), 400),
        ("TE.0", format!("{GET}transfer-encoding: chunked\r\n\r\n{chunked}"), 400),
        (
            "an early 401 of chunks",
            format!("{}{json}transfer-encoding: chunked\r\n\r\n{chunked}", post("/v1/transfers")),
            401,
        ),
    ];
    for (name, attack, status) in refused {
        let last = "GET /v1/echo/last HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let said = exchange(&world, format!("{attack}{last}")).await;
        assert_eq!(said.statuses()[0], status, "{name}: {}", said.text());
        // Either the body was read to its end and the next request is served, or the connection is over.
        assert!(
            said.closed && said.statuses()[1..].iter().all(|status| *status == 200),
            "{name}: {}",
            said.text()
        );
        assert!(said.statuses().len() <= 2 && !said.text().contains("smuggled"), "{name}: {}", said.text());
    }
    // A body that is announced and never comes keeps nobody waiting but its sender.
    let mut wire = Wire::connect(&world, "http/1.1").await;
    wire.send(format!("{}{json}content-length: 100000\r\n\r\n", post("/v1/transfers")).as_bytes()).await;
    assert_eq!(wire.read_for(Duration::from_secs(10), |said| said.ends_with(b"}")).await.statuses(), [401]);
}

async fn b6_a_length_has_one_form(world: Arc<World>) {
    let forms = [
        "+5",
        "-5",
        "5,5",
        "5, 5",
        "5 5",
        "0x5",
        "5;",
        "05x",
        "5.0",
        "1e1",
        "٥",
        "",
        " ",
        "\t",
        "5\x0b",
        "five",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999",
        "-0",
        "5\r\ncontent-length: 5",
        "5\r\ncontent-length: 6",
        "6\r\ncontent-length: 5",
        "5\r\ncontent-length: ",
    ];
    let attack = |form: &str| {
        (form.to_owned(), format!("{HEAD}content-length: {form}\r\n\r\n{{   }}{SMUGGLED}").into_bytes())
    };
    let wrong = wrong(&world, forms.iter().map(|form| attack(form)).collect(), refused_and_closed).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn b7_chunks_have_one_form_and_their_trailers_say_nothing(world: Arc<World>) {
    let chunks = |body: &str| format!("{HEAD}transfer-encoding: chunked\r\n\r\n{body}");
    let sizes = [
        "10000000000000000",
        "ffffffffffffffff",
        "FFFFFFFFFFFFFFFFF",
        "-1",
        "+2",
        "0x2",
        "2 2",
        "2g",
        "",
        "٢",
    ];
    let mut attacks: Vec<_> = sizes
        .iter()
        .map(|size| {
            (format!("size {size}"), chunks(&format!("{size}\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}")).into_bytes())
        })
        .collect();
    let extension = "x".repeat(1 << 20);
    attacks.push((
        "an extension of 1 MiB".to_owned(),
        chunks(&format!("2;{extension}\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}")).into_bytes(),
    ));
    for (name, body) in [
        ("LF behind a size", format!("2\n{{}}\r\n0\r\n\r\n{SMUGGLED}")),
        ("CR behind a size", format!("2\r{{}}\r\n0\r\n\r\n{SMUGGLED}")),
        ("LF behind a chunk", format!("2\r\n{{}}\n0\r\n\r\n{SMUGGLED}")),
        ("more than its size", format!("2\r\n{{}}xx\r\n0\r\n\r\n{SMUGGLED}")),
        ("LF in an extension", format!("2;a\nb\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}")),
    ] {
        attacks.push((name.to_owned(), chunks(&body).into_bytes()));
    }
    // Pingora takes no size for none and overhears an extension to its carriage return. Another may not: so whatever it makes of
    // such chunks, nothing behind them is read.
    let no_success =
        |said: &Said| said.closed && said.statuses().len() <= 1 && !said.text().contains("smuggled");
    let wrong = wrong(&world, attacks, no_success).await;
    assert!(wrong.is_empty(), "{wrong:#?}");

    // What a trailer says counts for nobody: neither as a credential nor as metadata.
    let trailers =
        format!("authorization: Bearer {}\r\ncauseway-caller: forged\r\nx-forged: forged\r\n", world.staff());
    let get = "GET /v1/customers HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ntrailer: authorization\r\nconnection: close\r\n";
    let said = exchange(&world, format!("{get}\r\n0\r\n{trailers}\r\n")).await;
    assert_eq!(said.statuses(), [401], "{}", said.text());
    let closing = HEAD.replace("content-type", "connection: close\r\ncontent-type");
    let said = exchange(
        &world,
        format!("{closing}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{trailers}\r\n"),
    )
    .await;
    assert!(said.statuses() == [200] && !said.text().contains("forged"), "{}", said.text());
}

async fn b8_a_field_line_has_one_form(world: Arc<World>) {
    let lines = [
        "x: a\r\n folded",
        "x: a\r\n\tfolded",
        "x : a",
        "x\t: a",
        " x: a",
        "x: a\0b",
        "x: a\rb",
        "x: a\x01b",
        "x: a\x7fb",
        "x(y): 1",
        "x y: 1",
        "x\0: 1",
        ": 1",
        "x",
        "\u{e9}: 1",
        "x@y: 1",
        "x[0]: 1",
        "x=y: 1",
        "host: b",
        "host : localhost",
    ];
    let attack = |line: &&str| ((*line).to_owned(), format!("{GET}{line}\r\n\r\n{SMUGGLED}").into_bytes());
    let mut attacks: Vec<_> = lines.iter().map(attack).collect();
    for line in [
        "GET /v1/echo/first HTTP/1.1\r\n\r\n",
        "GET /v1/echo/first HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET /v1/echo/first http/1.1\r\nhost: a\r\n\r\n",
        "GET /v1/echo/first\r\nhost: a\r\n\r\n",
        "GET\t/v1/echo/first HTTP/1.1\r\nhost: a\r\n\r\n",
        "G\0T /v1/echo/first HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        attacks.push((line.to_owned(), format!("{line}{SMUGGLED}").into_bytes()));
    }
    let wrong = wrong(&world, attacks, refused_and_closed).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn b10_a_target_names_this_host_and_no_tunnel(world: Arc<World>) {
    let close = "connection: close\r\n\r\n";
    for (name, attack, expect) in [
        (
            "another host",
            format!("GET http://evil/v1/echo/first HTTP/1.1\r\nhost: localhost\r\n{close}"),
            &[400][..],
        ),
        (
            "another port",
            format!("GET https://localhost:1/v1/echo/first HTTP/1.1\r\nhost: localhost\r\n{close}"),
            &[400],
        ),
        ("CONNECT", format!("CONNECT evil:443 HTTP/1.1\r\nhost: evil:443\r\n\r\n{SMUGGLED}"), &[400, 405]),
        (
            "CONNECT to a path",
            format!("CONNECT /v1/echo/first HTTP/1.1\r\nhost: localhost\r\n\r\n{SMUGGLED}"),
            &[400, 405],
        ),
        (
            "TRACE",
            format!("TRACE /v1/echo/first HTTP/1.1\r\nhost: localhost\r\ncookie: secret\r\n{close}"),
            &[405],
        ),
        (
            "TRACK",
            format!("TRACK /v1/echo/first HTTP/1.1\r\nhost: localhost\r\ncookie: secret\r\n{close}"),
            &[405],
        ),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n{close}"), &[400, 404]),
        (
            "another expectation",
            format!("{HEAD}content-length: 2\r\nexpect: 200-ok\r\n{close}{{}}"),
            &[400, 417],
        ),
    ] {
        let said = exchange(&world, attack).await;
        let statuses = said.statuses();
        assert!(
            statuses.len() == 1 && expect.contains(&statuses[0]) && said.closed,
            "{name}: {}",
            said.text()
        );
        assert!(!said.text().contains("secret"), "{name} reflects: {}", said.text());
    }
    // Whoever is refused anyway is not asked for a body first.
    let asked = "POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\nexpect: 100-continue\r\n";
    assert_eq!(exchange(&world, format!("{asked}{close}")).await.statuses(), [401]);
}

async fn b11_a_connection_in_the_clear_is_not_to_be_had(world: Arc<World>) {
    let head = "upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\nconnection: upgrade, http2-settings, close\r\n\r\n";
    let said = exchange(&world, format!("{GET}{head}")).await;
    assert_eq!(said.statuses(), [200], "the wish is overheard: {}", said.text());
    let body: Value = serde_json::from_str(said.text().split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let headers = body["headers"].to_string();
    assert!(!headers.contains("h2c") && !headers.contains("http2-settings"), "{headers}");
    // Nor by knowing the protocol beforehand, where another was agreed on.
    let said = exchange(&world, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(said.closed && !said.text().contains("200"), "{}", said.text());
}
