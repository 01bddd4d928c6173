//! Redis for svc-cache: TLS only, the default user off, one user that may do all but administer the server. It keeps an
//! append-only file, so that a restart of the mesh finds the cache warm.

use crate::client::trusting;
use crate::part::Part;
use crate::ports::loopback;
use crate::site::Site;
use crate::state;
use crate::supervisor::Launch;
use crate::tools;
use anyhow::Result;
use nix::sys::signal::Signal;
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The user of svc-cache.
pub(crate) const USER: &str = "causeway";

pub(crate) async fn start(site: &Site) -> Result<()> {
    let program = tools::require("redis-server")?;
    let folder = site.state.store("redis");
    state::create(&folder, 0o700)?;
    let config = site.state.config("redis.conf");
    state::write_private(&config, configuration(site, &folder))?;
    let tls = TlsConnector::from(Arc::new(trusting(&site.pki.server_authority.certificate)?));
    let launch = Launch {
        program,
        arguments: vec![config.into()],
        folder,
        user: None,
        stop: Signal::SIGTERM,
        abort: Signal::SIGKILL,
    };
    let ready = async || ping(site, &tls).await.unwrap_or(false);
    site.start(Part::Redis, launch, ready).await
}

fn configuration(site: &Site, folder: &Path) -> String {
    let password: String =
        Sha256::digest(site.secrets.redis.expose()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"bind 127.0.0.1
port 0
tls-port {port}
tls-cert-file "{certificate}"
tls-key-file "{key}"
tls-ca-cert-file "{authority}"
tls-auth-clients no
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
user default off
user {USER} on #{password} ~* &* +@all -@admin
"#,
        port = site.ports.redis,
        certificate = site.pki.store.certificate.display(),
        key = site.pki.store.key.display(),
        authority = site.pki.server_authority.certificate.display(),
        folder = folder.display(),
    )
}

/// Whether Redis answers its user over TLS; while it loads its file it answers, but not with this.
async fn ping(site: &Site, tls: &TlsConnector) -> Result<bool> {
    let talk = async {
        let stream = TcpStream::connect(loopback(site.ports.redis)).await?;
        let mut stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let login = format!("AUTH {USER} {}\r\nPING\r\n", site.secrets.redis.expose());
        stream.write_all(login.as_bytes()).await?;
        let mut answer = [0; "+OK\r\n+PONG\r\n".len()];
        stream.read_exact(&mut answer).await?;
        Ok(&answer == b"+OK\r\n+PONG\r\n")
    };
    tokio::time::timeout(Duration::from_secs(2), talk).await?
}
