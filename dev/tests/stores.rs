//! The stores and the issuer as a mesh starts them: with access control on, alive again after a kill, gone in the end.

use dev::{Mesh, Part, Setup, TokenRequest};
use std::path::Path;

#[tokio::test]
async fn stores_start_survive_a_kill_and_leave_nothing_behind() {
    let stores = [Part::Postgres, Part::Redis, Part::Mongo, Part::Dynamo, Part::Issuer];
    let setup = Setup::temporary(Path::new("/nowhere")).unwrap().only(&stores);
    let mesh = Mesh::start(setup).await.unwrap();
    let folder = mesh.folder().to_owned();
    let mut pids = Vec::new();
    for part in Part::STORES {
        let before = mesh.pid(part).unwrap();
        mesh.kill(part).await.unwrap();
        assert!(mesh.pid(part).is_none());
        mesh.start_part(part).await.unwrap_or_else(|error| panic!("{part} after a kill: {error:#}"));
        let after = mesh.pid(part).unwrap();
        assert_ne!(before, after);
        mesh.restart(part).await.unwrap_or_else(|error| panic!("{part} after a stop: {error:#}"));
        pids.push(mesh.pid(part).unwrap());
    }
    mesh.kill(Part::Dynamo).await.unwrap();
    mesh.start_part(Part::Dynamo).await.unwrap();
    assert!(mesh.ended().is_none(), "what was killed on purpose is no news");

    let token = mesh.issuer().issue(&TokenRequest::new("alice").scopes(&["accounts.read"])).unwrap();
    assert_eq!(token.split('.').count(), 3);

    mesh.stop_all().await.unwrap();
    drop(mesh);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left running");
    }
    assert!(!folder.exists());
}
