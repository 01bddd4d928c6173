//! C8 and F9: clients that take their time. Each holds a connection no longer than its deadline, and nobody waits behind them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dev::Part;
use e2e::World;
use e2e::load::cpu_time;
use e2e::wire::Wire;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::withstands;

crate::tests![
    c8_a_header_in_drips_is_let_go,
    c8_a_body_in_drips_ends_with_its_deadline,
    c8_an_idle_handshake_is_let_go,
    f9_a_hello_in_crumbs_is_read_or_let_go,
    f9_a_client_that_says_goodbye_and_stays_costs_nothing,
];

/// The edge's bounds as the mesh has them (`header_ms`, `handshake_ms`), and a moment for a busy machine.
const HEADER: Duration = Duration::from_secs(10 + 4);
const HANDSHAKE: Duration = Duration::from_secs(5 + 4);
/// How many of each: enough that what each cost would show.
const CLIENTS: usize = 50;

async fn tcp(world: &World) -> TcpStream {
    TcpStream::connect(("127.0.0.1", world.mesh.ports().public)).await.unwrap()
}

/// How long the edge lets a client go on that sends `drip` every 200 ms.
async fn dripping(mut wire: Wire, drip: &[u8]) -> (Duration, String) {
    let began = Instant::now();
    let mut said = Vec::new();
    while began.elapsed() < Duration::from_secs(60) {
        if !wire.send(drip).await {
            break;
        }
        let more = wire.read_for(Duration::from_millis(200), |_| false).await;
        said.extend_from_slice(&more.bytes);
        if more.closed || !said.is_empty() {
            break;
        }
    }
    (began.elapsed(), String::from_utf8_lossy(&said).into_owned())
}

async fn c8_a_header_in_drips_is_let_go(world: Arc<World>) {
    let clients = (0..CLIENTS).map(|_| async {
        let mut wire = Wire::connect(&world, "http/1.1").await;
        wire.send(b"GET /v1/echo/slow HTTP/1.1\r\nhost: localhost\r\nx: ").await;
        dripping(wire, b"x").await
    });
    let ended = withstands(&world, futures::future::join_all(clients)).await;
    for (lasted, said) in ended {
        assert!(lasted < HEADER && !said.contains("200 OK"), "{lasted:?}: {said}");
    }
}

async fn c8_a_body_in_drips_ends_with_its_deadline(world: Arc<World>) {
    // The method's own deadline is five seconds; the client asks for two.
    let clients = (0..CLIENTS).map(|_| async {
        let mut wire = Wire::connect(&world, "http/1.1").await;
        let head = "POST /v1/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-server-timeout: 2\r\n\
                    content-length: 100000\r\n\r\n";
        wire.send(head.as_bytes()).await;
        dripping(wire, b" ").await
    });
    let ended = withstands(&world, futures::future::join_all(clients)).await;
    for (lasted, said) in ended {
        assert!(lasted < Duration::from_secs(8) && !said.contains(" 200 "), "{lasted:?}: {said}");
    }
}

async fn c8_an_idle_handshake_is_let_go(world: Arc<World>) {
    let clients = (0..CLIENTS).map(|number| {
        let world = &world;
        async move {
            let mut tcp = tcp(world).await;
            // Half of them begin: the header of a record of a hello that does not come.
            if number % 2 == 0 {
                tcp.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
            }
            let began = Instant::now();
            let closed = tokio::time::timeout(HANDSHAKE, tcp.read(&mut [0; 64])).await;
            assert!(closed.is_ok(), "open after {:?}", began.elapsed());
        }
    });
    withstands(&world, futures::future::join_all(clients)).await;
}

/// A hello as TLS sends it, without its record.
fn hello(world: &World) -> Vec<u8> {
    let config = e2e::rest::tls(&world.mesh.pki().server_authority.certificate, None);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut record = Vec::new();
    client.write_tls(&mut record).unwrap();
    record.split_off(5)
}

fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[kind, 3, 1][..], &length, bytes].concat()
}

async fn f9_a_hello_in_crumbs_is_read_or_let_go(world: Arc<World>) {
    let hello = hello(&world);
    let whole = record(22, &hello);
    let crumbs: Vec<u8> = hello.iter().flat_map(|byte| record(22, &[*byte])).collect();
    let mut huge = hello.clone();
    // A hello that says it has sixteen megabytes, and one that sends sixteen kilobytes of nothing.
    huge[1..4].copy_from_slice(&[0xff, 0xff, 0xff]);
    let padded = [&[1, 0, 0x40, 0][..], &[0; 0x4000]].concat();
    let empty: Vec<u8> = (0..2_000).flat_map(|_| record(22, &[])).collect();
    let alerts: Vec<u8> = (0..2_000).flat_map(|_| record(21, &[1, 0])).collect();
    let pid = world.mesh.pid(Part::Edge).unwrap();
    for (name, bytes, answered) in [
        ("whole", whole, true),
        ("a byte a record", crumbs, true),
        ("of sixteen megabytes", record(22, &huge), false),
        ("of zeros", padded.chunks(0x2000).flat_map(|piece| record(22, piece)).collect(), false),
        ("of empty records", empty, false),
        ("of alerts", alerts, false),
    ] {
        let mut tcp = tcp(&world).await;
        let cpu = cpu_time(pid);
        let _ = tcp.write_all(&bytes).await;
        let mut first = [0; 1];
        let said = tokio::time::timeout(HANDSHAKE, tcp.read(&mut first))
            .await
            .unwrap_or_else(|_| panic!("{name}: still open"));
        let server_hello = matches!(said, Ok(1)) && first[0] == 22;
        assert!(server_hello || !answered, "{name}: {said:?} {first:?}");
        assert!(cpu_time(pid) - cpu < Duration::from_secs(5), "{name}: the edge spins");
    }
}

async fn f9_a_client_that_says_goodbye_and_stays_costs_nothing(world: Arc<World>) {
    let pid = world.mesh.pid(Part::Edge).unwrap();
    let mut stayed = Vec::new();
    for protocol in ["h2", "http/1.1"] {
        for _ in 0..10 {
            let mut stream = Wire::connect(&world, protocol).await.into_stream();
            stream
                .write_all(if protocol == "h2" { b"PRI * HT" } else { b"GET /v1/echo/a HTTP/1.1\r\nho" })
                .await
                .unwrap();
            // close_notify goes out and the TCP connection stays: a reader that takes the end for more to come would spin.
            stream.get_mut().1.send_close_notify();
            stream.flush().await.unwrap();
            stayed.push(stream);
        }
    }
    let cpu = cpu_time(pid);
    for mut stream in stayed {
        let ended = tokio::time::timeout(HEADER, async {
            while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
        });
        assert!(ended.await.is_ok(), "the edge holds on to a client that has said goodbye");
    }
    assert!(cpu_time(pid) - cpu < Duration::from_secs(5), "the edge spins");
}
