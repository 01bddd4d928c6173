//! A disk that is full: PostgreSQL's files on a small file system of their own, and something else that takes all the room.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dev::Setup;
use e2e::world::binaries;

use super::faults::Fault;
use super::scene::Scene;

/// Enough for an empty cluster, its write-ahead log of a few segments, and the load of some seconds.
const SIZE: &str = "size=320m";
/// How long the disk stays full.
const LASTS: Duration = Duration::from_secs(4);
/// The file that takes the room.
const FILLER: &str = "filler";

/// A file system in memory. It is unmounted when this is dropped.
struct Small(PathBuf);

impl Small {
    /// In the place of a folder, and whose it was.
    fn mount(at: &Path) -> Self {
        let owner = std::fs::metadata(at).unwrap();
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(at).status().unwrap();
        assert!(status.success(), "cannot mount a small file system: root is needed for that");
        std::os::unix::fs::chown(at, Some(owner.uid()), Some(owner.gid())).unwrap();
        std::fs::set_permissions(at, owner.permissions()).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Runs the fault on a mesh of its own.
pub async fn full() {
    let setup = Setup::temporary(&binaries()).unwrap();
    // What is declared last is dropped first: the folder can be removed only when nothing is mounted in it.
    let scene;
    let mut disk = None;
    let mount = |mesh: &dev::Mesh| disk = Some(Small::mount(&mesh.postgres_folder().unwrap()));
    scene = Scene::start(setup, mount).await.unwrap();
    let fault = Fault { name: "the disk is full", short: false, happen: |scene| Box::pin(fill(scene)) };
    super::happen(&scene, fault.name, &fault).await;
}

async fn fill(scene: &Scene) {
    let filler = scene.world.mesh.postgres_folder().unwrap().join(FILLER);
    let mut file = std::fs::File::create(&filler).unwrap();
    // Until there is no room for another byte.
    let _ = std::io::copy(&mut std::io::repeat(0), &mut file);
    tokio::time::sleep(LASTS).await;
    std::fs::remove_file(&filler).unwrap();
}
