//! The public listener with no client library in between: bytes and frames that well-behaved clients never send, and what the
//! edge says to them. Every wait ends: a connection that is neither answered nor closed within [`PATIENCE`] is told as such.

pub mod h2;

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::World;
use crate::rest::tls;

/// How long the edge may say nothing before a test gives up on it: longer than any deadline of a request in these suites.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A TLS connection to the public listener.
pub struct Wire {
    stream: TlsStream<TcpStream>,
}

/// What the edge has said.
#[derive(Debug)]
pub struct Said {
    pub bytes: Vec<u8>,
    /// Whether it has closed the connection.
    pub closed: bool,
}

impl Wire {
    /// Connects with this protocol: "h2" or "http/1.1".
    pub async fn connect(world: &World, protocol: &str) -> Self {
        let mut config = tls(&world.mesh.pki().server_authority.certificate, None);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let tcp = TcpStream::connect(("127.0.0.1", world.mesh.ports().public)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self { stream: TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap() }
    }

    /// Sends bytes; `false` when the edge takes no more of them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// What the edge says until it closes, until `enough`, or until it has said nothing for `patience`.
    pub async fn read_for(&mut self, patience: Duration, enough: impl Fn(&[u8]) -> bool) -> Said {
        let mut said = Said { bytes: Vec::new(), closed: false };
        let mut buffer = vec![0; 16 * 1024];
        while !enough(&said.bytes) {
            let until = Instant::now() + patience;
            match timeout_at(until, self.stream.read(&mut buffer)).await {
                Err(_) => break,
                Ok(Ok(0) | Err(_)) => {
                    said.closed = true;
                    break;
                }
                Ok(Ok(count)) => said.bytes.extend_from_slice(&buffer[..count]),
            }
        }
        said
    }

    /// As [`Wire::read_for`], with all the patience there is.
    pub async fn read(&mut self, enough: impl Fn(&[u8]) -> bool) -> Said {
        self.read_for(PATIENCE, enough).await
    }

    /// The two halves, for whoever must write and read at once.
    #[must_use]
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }
}

impl Said {
    /// What it said as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The statuses of the answers of HTTP/1.1 in it.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        let answers = text.split("HTTP/1.1 ").skip(1);
        answers.filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
    }
}

/// Sends bytes on a connection of HTTP/1.1 of its own, and reads until the edge closes it or falls silent.
pub async fn exchange(world: &World, bytes: impl AsRef<[u8]>) -> Said {
    let mut wire = Wire::connect(world, "http/1.1").await;
    wire.send(bytes.as_ref()).await;
    // An edge that waits for more has said all it will: what matters then is that it has said nothing wrong.
    wire.read_for(Duration::from_secs(2), |_| false).await
}
