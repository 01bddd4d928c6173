//! C9: accepting a connection fails, and goes on failing for a while. The server that gave up on that would be lost for good.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dev::Part;
use e2e::World;
use e2e::world::eventually;
use tokio::net::TcpStream;

crate::tests![c9_a_server_that_could_not_accept_accepts_again];

/// How many files a process has open.
fn open_files(pid: u32) -> usize {
    std::fs::read_dir(PathBuf::from(format!("/proc/{pid}/fd"))).unwrap().count()
}

/// How many files a process may open.
fn files_max(pid: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().to_owned()
}

/// Says how many files a process may open from now on.
fn allow(pid: u32, files: &str) {
    let limit = format!("--nofile={files}:");
    let set = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().unwrap();
    assert!(set.success(), "prlimit is part of util-linux");
}

async fn c9_a_server_that_could_not_accept_accepts_again(world: Arc<World>) {
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 0).await;
    let path = format!("/v1/accounts/{account}/balance");
    for (part, port) in [(Part::Ledger, world.mesh.ports().ledger), (Part::Edge, world.mesh.ports().public)] {
        let pid = world.mesh.pid(part).unwrap();
        let before = files_max(pid);
        allow(pid, &open_files(pid).to_string());
        // The kernel takes them on; nobody takes them from the kernel: each try to accept fails.
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        allow(pid, &before);
        drop(waiting);
        let again = || async {
            let fresh = e2e::Rest::new(
                &world.mesh.public_url(),
                e2e::rest::tls(&world.mesh.pki().server_authority.certificate, None),
                e2e::rest::Version::Http1,
            );
            let request = fresh.request(http::Method::GET, &path);
            let request = request.header("authorization", format!("Bearer {}", customer.token));
            let answer = fresh.try_send(request.body(http_body_util::Full::default()).unwrap()).await;
            answer.is_ok_and(|answer| answer.status == 200)
        };
        eventually(&format!("{part} accepts again"), Duration::from_secs(20), again).await;
        // The ledger hears from the edge over connections it has: ask it for a new one.
        eventually(&format!("{part} takes a new connection"), Duration::from_secs(20), || async {
            let served = open_files(pid);
            let one = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let taken = open_files(pid) > served;
            drop(one);
            taken
        })
        .await;
        assert_eq!(world.mesh.pid(part), Some(pid), "{part} is the same process");
    }
}
