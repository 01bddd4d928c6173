//! MongoDB for svc-docs: TLS and SCRAM, one user for one database. `mongod` runs as a replica set of one, because transactions
//! and change streams need one; where there is no `mongod`, secantusd speaks the same protocol on the same driver.

use crate::part::Part;
use crate::ports::loopback;
use crate::site::Site;
use crate::state;
use crate::supervisor::Launch;
use crate::tools;
use anyhow::{Context, Result, bail};
use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The user of svc-docs and its database.
pub(crate) const USER: &str = "docs";
pub(crate) const DATABASE: &str = "docs";

const REPLICA_SET: &str = "causeway";
/// How long a lone member takes to elect itself, and then some.
const ELECTION_LONGEST: Duration = Duration::from_secs(20);
/// How long it may take to write out what it holds.
const STOP_LONGEST: Duration = Duration::from_secs(20);

pub(crate) async fn start(site: &Site) -> Result<()> {
    // A folder each: neither reads the other's files.
    let mongod = tools::find("mongod");
    let folder = site.state.store(if mongod.is_some() { "mongod" } else { "secantusd" });
    state::create(&folder, 0o700)?;
    // There once the user is: a start that broke off before does its first steps again.
    let created = folder.join("user-created");
    match mongod {
        Some(program) => start_mongod(site, &folder, program, &created).await,
        None => start_secantusd(site, &folder, tools::require("secantusd-py")?, &created).await,
    }
}

async fn start_mongod(site: &Site, folder: &Path, program: PathBuf, created: &Path) -> Result<()> {
    let data = folder.join("data");
    state::create(&data, 0o700)?;
    let mut both = fs::read(&site.pki.store.certificate)?;
    both.extend(fs::read(&site.pki.store.key)?);
    let pem = site.state.config("mongod.pem");
    state::write_private(&pem, both)?;
    let arguments: Vec<OsString> = vec![
        "--bind_ip=127.0.0.1".into(),
        format!("--port={}", site.ports.mongo).into(),
        "--dbpath".into(),
        data.into(),
        format!("--replSet={REPLICA_SET}").into(),
        "--auth".into(),
        "--keyFile".into(),
        site.secrets.mongo_key.path.clone().into(),
        "--tlsMode=requireTLS".into(),
        "--tlsAllowConnectionsWithoutCertificates".into(),
        "--tlsCertificateKeyFile".into(),
        pem.into(),
        "--tlsCAFile".into(),
        site.pki.server_authority.certificate.clone().into(),
    ];
    let launch = launch(program, arguments, folder);
    if created.exists() {
        return site.start(Part::Mongo, launch, async || answers(site, true).await).await;
    }
    site.start(Part::Mongo, launch, async || answers(site, false).await).await?;
    // Until it has a user, mongod lets the first connection from this machine in.
    let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", site.ports.mongo) };
    let client = client(site, Access { tls: true, user: false })?;
    let initiate = doc! { "replSetInitiate": { "_id": REPLICA_SET, "members": [member] } };
    client.database("admin").run_command(initiate).await.context("cannot initiate the replica set")?;
    elected(&client).await?;
    create_user(site, &client).await?;
    state::write_private(created, "")
}

async fn start_secantusd(site: &Site, folder: &Path, program: PathBuf, created: &Path) -> Result<()> {
    let mut arguments: Vec<OsString> = vec![
        "--host=127.0.0.1".into(),
        // Without it an acknowledged write is lost with the process, and what was paid for is gone after a kill.
        "--sync-on-commit".into(),
        format!("--port={}", site.ports.mongo).into(),
        "--storage-path".into(),
        folder.join("data").into(),
        "--log-level=WARNING".into(),
    ];
    if !created.exists() {
        // It makes users only while it asks for none: once, before it has ever held anything, on loopback.
        let open = launch(program.clone(), arguments.clone(), folder);
        site.start(Part::Mongo, open, async || is_open(site).await).await?;
        let made = match client(site, Access { tls: false, user: false }) {
            Ok(client) => create_user(site, &client).await,
            Err(error) => Err(error),
        };
        stop(site).await?;
        made?;
        state::write_private(created, "")?;
    }
    arguments.extend(["--auth".into(), "--tls-cert-file".into(), site.pki.store.certificate.clone().into()]);
    arguments.extend(["--tls-key-file".into(), site.pki.store.key.clone().into()]);
    let launch = launch(program, arguments, folder);
    site.start(Part::Mongo, launch, async || answers(site, true).await).await
}

/// Asks MongoDB to stop and waits until it has. secantusd closes its listener and then waits two seconds for a thread of its own
/// that sits in `accept`; a connection wakes it.
pub(crate) async fn stop(site: &Site) -> Result<()> {
    site.children.ask_to_stop(Part::Mongo);
    let deadline = Instant::now() + STOP_LONGEST;
    while !site.children.wait(Part::Mongo, Duration::from_millis(50)).await {
        let _ = is_open(site).await;
        if Instant::now() >= deadline {
            bail!("mongo does not stop within {} s", STOP_LONGEST.as_secs());
        }
    }
    Ok(())
}

fn launch(program: PathBuf, arguments: Vec<OsString>, folder: &Path) -> Launch {
    Launch {
        program,
        arguments,
        folder: folder.to_owned(),
        user: None,
        stop: Signal::SIGTERM,
        abort: Signal::SIGKILL,
    }
}

/// How a client comes in.
#[derive(Clone, Copy)]
struct Access {
    tls: bool,
    user: bool,
}

fn client(site: &Site, access: Access) -> Result<Client> {
    let address = ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: Some(site.ports.mongo) };
    let mut options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .server_selection_timeout(Duration::from_secs(2))
        .build();
    if access.tls {
        let trusted = site.pki.server_authority.certificate.clone();
        options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(trusted).build()));
    }
    if access.user {
        let password = site.secrets.mongo.expose().to_owned();
        let user =
            Credential::builder().username(USER.to_owned()).password(password).source("admin".to_owned());
        options.credential = Some(user.build());
    }
    Client::with_options(options).context("cannot set up the MongoDB client")
}

/// Whether the port is open. Asked before the driver is, whose own rhythm is half a second.
async fn is_open(site: &Site) -> bool {
    tokio::net::TcpStream::connect(loopback(site.ports.mongo)).await.is_ok()
}

/// Whether it answers over TLS: its user, or just anyone.
async fn answers(site: &Site, user: bool) -> bool {
    if !is_open(site).await {
        return false;
    }
    let Ok(client) = client(site, Access { tls: true, user }) else { return false };
    let answer = client.database(DATABASE).run_command(doc! { "ping": 1 }).await;
    client.shutdown().immediate(true).await;
    answer.is_ok()
}

async fn elected(client: &Client) -> Result<()> {
    let deadline = Instant::now() + ELECTION_LONGEST;
    while Instant::now() < deadline {
        let hello: Document = client.database("admin").run_command(doc! { "hello": 1 }).await?;
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("mongod has not become primary after {} s", ELECTION_LONGEST.as_secs())
}

async fn create_user(site: &Site, client: &Client) -> Result<()> {
    let command = doc! {
        "createUser": USER,
        "pwd": site.secrets.mongo.expose(),
        "roles": [{ "role": "readWrite", "db": DATABASE }],
    };
    // A start that broke off after this step finds the user there, with the password of the same file.
    match client.database("admin").run_command(command).await {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("already exists") => Ok(()),
        Err(error) => Err(error).context("cannot create the MongoDB user"),
    }
}
