//! Which port each listener of the mesh has: the fixed ones of `make run`, or free ones for a test. Free ports are reserved
//! across processes by a lock file, because tests run side by side and a port that is merely unused may be taken twice.

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

/// Every port of a mesh, all on 127.0.0.1.
#[derive(Debug)]
pub struct Ports {
    pub public: u16,
    pub partner: u16,
    pub mesh: u16,
    pub edge_admin: u16,
    pub ledger: u16,
    pub accounts: u16,
    pub cache: u16,
    pub docs: u16,
    pub ledger_admin: u16,
    pub accounts_admin: u16,
    pub cache_admin: u16,
    pub docs_admin: u16,
    pub issuer: u16,
    pub postgres: u16,
    pub redis: u16,
    pub dynamo: u16,
    pub mongo: u16,
    /// Ports with no use of their own: for the foreign services of a test.
    pub spare: [u16; SPARE],
    /// Keeps other processes off a block of free ports.
    _reserved: Option<Flock<File>>,
}

const SPARE: usize = 3;
const USED: usize = 17 + SPARE;

/// The blocks that tests choose from: above the privileged ports and those of `make run`, below Linux's ephemeral range
/// (32768), so that no outgoing connection sits on one.
const BLOCKS: std::ops::Range<u16> = 0..600;
const BLOCK_BASE: u16 = 10_000;
const BLOCK_SIZE: u16 = 32;

impl Ports {
    /// The ports of `make run`.
    #[must_use]
    pub fn fixed() -> Self {
        Self {
            public: 8443,
            partner: 8444,
            mesh: 8445,
            edge_admin: 9100,
            ledger: 7001,
            accounts: 7002,
            cache: 7003,
            docs: 7004,
            ledger_admin: 9101,
            accounts_admin: 9102,
            cache_admin: 9103,
            docs_admin: 9104,
            issuer: 7080,
            postgres: 7432,
            redis: 7379,
            dynamo: 7800,
            mongo: 7017,
            spare: [7090, 7091, 7092],
            _reserved: None,
        }
    }

    /// Ports that nobody listens on and no other mesh of this machine has reserved, until the value is dropped.
    pub fn free() -> Result<Self> {
        let locks = std::env::temp_dir().join("causeway-ports");
        std::fs::create_dir_all(&locks).with_context(|| format!("cannot create {}", locks.display()))?;
        let first = rand::random_range(BLOCKS);
        for step in BLOCKS {
            let block = (first + step) % BLOCKS.end;
            let Some(lock) = reserve(locks.join(block.to_string()))? else { continue };
            let base = BLOCK_BASE + block * BLOCK_SIZE;
            let free: Vec<u16> = (base..base + BLOCK_SIZE).filter(|port| !busy(*port)).collect();
            if let Some(ports) = free.get(..USED) {
                return Ok(Self::from_block(ports, lock));
            }
        }
        bail!("no block of {USED} free ports between {BLOCK_BASE} and 29200")
    }

    fn from_block(ports: &[u16], lock: Flock<File>) -> Self {
        Self {
            public: ports[0],
            partner: ports[1],
            mesh: ports[2],
            edge_admin: ports[3],
            ledger: ports[4],
            accounts: ports[5],
            cache: ports[6],
            docs: ports[7],
            ledger_admin: ports[8],
            accounts_admin: ports[9],
            cache_admin: ports[10],
            docs_admin: ports[11],
            issuer: ports[12],
            postgres: ports[13],
            redis: ports[14],
            dynamo: ports[15],
            mongo: ports[16],
            spare: [ports[17], ports[18], ports[19]],
            _reserved: Some(lock),
        }
    }

    /// Refuses with one line naming the first port that somebody else listens on.
    pub fn check_unused(&self) -> Result<()> {
        for (port, purpose) in self.purposes() {
            if busy(port) {
                bail!(
                    "port {port} ({purpose}) is in use: stop what listens there (`ss -ltnp 'sport = :{port}'` names it)"
                );
            }
        }
        Ok(())
    }

    fn purposes(&self) -> [(u16, &'static str); 17] {
        [
            (self.public, "the edge's public listener"),
            (self.partner, "the edge's partner listener"),
            (self.mesh, "the edge's mesh listener"),
            (self.edge_admin, "the edge's admin listener"),
            (self.ledger, "svc-ledger"),
            (self.accounts, "svc-accounts"),
            (self.cache, "svc-cache"),
            (self.docs, "svc-docs"),
            (self.ledger_admin, "svc-ledger's admin listener"),
            (self.accounts_admin, "svc-accounts's admin listener"),
            (self.cache_admin, "svc-cache's admin listener"),
            (self.docs_admin, "svc-docs's admin listener"),
            (self.issuer, "the token issuer"),
            (self.postgres, "PostgreSQL"),
            (self.redis, "Redis"),
            (self.dynamo, "the DynamoDB engine"),
            (self.mongo, "MongoDB"),
        ]
    }
}

/// The loopback address of a port.
#[must_use]
pub const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Whether somebody listens on the port. Binding tells more than connecting: it also sees a listener with a full backlog.
fn busy(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_err()
}

fn reserve(path: PathBuf) -> Result<Option<Flock<File>>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn two_reservations_share_no_port() {
        let (one, two) = (Ports::free().unwrap(), Ports::free().unwrap());
        let of = |ports: &Ports| ports.purposes().map(|(port, _)| port).into_iter().collect::<BTreeSet<_>>();
        assert!(of(&one).is_disjoint(&of(&two)));
        assert_eq!(of(&one).len(), 17);
    }

    #[test]
    fn busy_port_is_named_with_its_purpose() {
        let ports = Ports::free().unwrap();
        let _taken = TcpListener::bind(loopback(ports.redis)).unwrap();
        let refusal = ports.check_unused().unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("port {} (Redis) is in use", ports.redis)), "{refusal}");
    }
}
