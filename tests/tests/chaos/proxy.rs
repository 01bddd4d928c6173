//! A TCP proxy that can be told to hurt what goes through it: to delay, to swallow, to cut with a reset, to close one half.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to everything that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// Each piece is held back for so long, in both directions.
    Delay(Duration),
    /// Nothing arrives any more, in either direction, and nobody is told.
    Swallow,
    /// The server's answers do not arrive any more; what is sent to it does.
    Deafen,
    /// Every connection is reset, and so is each new one.
    Cut,
    /// The client's half of every connection is closed towards the server; new ones are too, at once.
    Halve,
}

/// A running proxy.
pub struct Proxy {
    harm: Arc<watch::Sender<Harm>>,
    passed: Arc<Mutex<u64>>,
}

impl Proxy {
    /// Listens on `port` of this machine and leads to `target`.
    pub async fn start(port: u16, target: u16) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
        let harm = Arc::new(watch::Sender::new(Harm::None));
        let passed = Arc::new(Mutex::new(0));
        let proxy = Self { harm: Arc::clone(&harm), passed: Arc::clone(&passed) };
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(client, target, harm.subscribe(), Arc::clone(&passed)));
            }
        });
        proxy
    }

    /// From now on.
    pub fn harm(&self, harm: Harm) {
        self.harm.send_replace(harm);
    }

    /// Bytes that went through so far.
    pub fn passed(&self) -> u64 {
        *self.passed.lock().unwrap()
    }
}

async fn serve(client: TcpStream, target: u16, harm: watch::Receiver<Harm>, passed: Arc<Mutex<u64>>) {
    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], target))).await else { return };
    // A reset, not a tidy end, when a connection is dropped with something unread.
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_zero_linger();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pipe(from_client, to_server, harm.clone(), Way::There, Arc::clone(&passed));
    let back = pipe(from_server, to_client, harm, Way::Back, passed);
    // The first to end takes the other with it.
    tokio::select! { () = there => {}, () = back => {} }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut harm: watch::Receiver<Harm>,
    way: Way,
    passed: Arc<Mutex<u64>>,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let now = *harm.borrow_and_update();
        let swallowed = now == Harm::Swallow || (now == Harm::Deafen && way == Way::Back);
        match now {
            Harm::Cut => return,
            Harm::Halve if way == Way::There => {
                let _ = to.shutdown().await;
                let _ = harm.changed().await;
                continue;
            }
            Harm::None | Harm::Delay(_) | Harm::Swallow | Harm::Deafen | Harm::Halve => {}
        }
        tokio::select! {
            changed = harm.changed() => if changed.is_err() { return },
            read = from.read(&mut piece), if !swallowed => {
                let Ok(length @ 1..) = read else { return };
                if let Harm::Delay(time) = now {
                    tokio::time::sleep(time).await;
                }
                if to.write_all(&piece[..length]).await.is_err() {
                    return;
                }
                *passed.lock().unwrap() += length as u64;
            }
        }
    }
}
