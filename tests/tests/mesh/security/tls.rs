//! F1: what of TLS the edge does not speak. `make security` asks the same of it with sslyze and testssl.sh; here is the part that
//! must not wait for those.

use std::sync::Arc;
use std::time::Duration;

use e2e::World;
use e2e::rest::tls;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

crate::tests![
    f1_old_versions_weak_suites_and_compression_are_refused,
    f1_nothing_is_resumed_and_no_data_comes_early,
];

/// Suites that were once good: RC4, 3DES, CBC, plain RSA, export, NULL, anonymous.
const WEAK: &[u16] = &[
    0x0000, 0x0002, 0x0003, 0x0004, 0x0005, 0x000a, 0x0018, 0x002f, 0x0035, 0x003c, 0x009c, 0x009d, 0xc007,
    0xc008, 0xc009, 0xc00a, 0xc011, 0xc012, 0xc013, 0xc014, 0xc018, 0xc023, 0xc027,
];
/// ECDHE with AES-GCM for ECDSA and RSA certificates: what a good client of TLS 1.2 offers.
const GOOD: &[u16] = &[0xc02b, 0xc02c, 0xc02f, 0xc030];

/// A hello of TLS before 1.3, with the extensions without which nobody would answer.
fn hello(version: u16, suites: &[u16], compression: &[u8]) -> Vec<u8> {
    let list = |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let name = [&[0][..], &list(b"localhost".to_vec())].concat();
    let extensions: Vec<u8> = [
        (0_u16, list(name)),
        (10, list(words(&[23, 24, 29]))),
        (11, vec![1, 0]),
        (13, list(words(&[0x0403, 0x0804, 0x0401, 0x0201, 0x0203]))),
    ]
    .into_iter()
    .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &list(body)].concat())
    .collect();
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &list(words(suites)),
        &[u8::try_from(compression.len()).unwrap()],
        compression,
        &list(extensions),
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &list(handshake)].concat()
}

/// The first record of the answer: its kind, and its first bytes. A closed connection is a refusal too.
async fn answer(world: &World, hello: &[u8]) -> (u8, Vec<u8>) {
    let mut tcp = TcpStream::connect(("127.0.0.1", world.mesh.ports().public)).await.unwrap();
    tcp.write_all(hello).await.unwrap();
    let mut head = [0; 5];
    let read =
        tokio::time::timeout(Duration::from_secs(10), tcp.read_exact(&mut head)).await.expect("no answer");
    if read.is_err() {
        return (21, Vec::new());
    }
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    tcp.read_exact(&mut body).await.unwrap();
    (head[0], body)
}

async fn f1_old_versions_weak_suites_and_compression_are_refused(world: Arc<World>) {
    const HANDSHAKE: u8 = 22;
    let all = [WEAK, GOOD].concat();
    let (kind, body) = answer(&world, &hello(0x0303, GOOD, &[0])).await;
    assert_eq!(
        (kind, body[0], &body[4..6]),
        (HANDSHAKE, 2, &[3, 3][..]),
        "TLS 1.2 with a good suite is spoken"
    );
    for (name, version) in [("SSL 3.0", 0x0300), ("TLS 1.0", 0x0301), ("TLS 1.1", 0x0302)] {
        let (kind, body) = answer(&world, &hello(version, &all, &[0])).await;
        assert_ne!(kind, HANDSHAKE, "{name} is answered: {body:?}");
    }
    for suite in WEAK {
        let (kind, body) = answer(&world, &hello(0x0303, &[*suite], &[0])).await;
        assert_ne!(kind, HANDSHAKE, "suite {suite:#06x} is answered: {body:?}");
    }
    let (kind, body) = answer(&world, &hello(0x0303, GOOD, &[1, 0])).await;
    let session = usize::from(body[38]);
    assert!(kind != HANDSHAKE || body[38 + 1 + session + 2] == 0, "nothing is compressed");
}

async fn f1_nothing_is_resumed_and_no_data_comes_early(world: Arc<World>) {
    // A ticket would let a client in whose certificate nobody looks at again. Early data, which anybody can send twice, needs one.
    let mut config = tls(&world.mesh.pki().server_authority.certificate, None);
    config.enable_early_data = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..3 {
        let tcp = TcpStream::connect(("127.0.0.1", world.mesh.ports().public)).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        stream
            .write_all(b"GET /v1/echo/early HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
        let (_, session) = stream.get_ref();
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}
