//! Authorities, leaves and whole handshakes in memory, without a socket.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ConnectionCommon, Error, RootCertStore, ServerConfig,
    ServerConnection, SideData,
};

use super::super::*;

pub const LEDGER: &str = "spiffe://causeway.test/svc-ledger";

/// An authority with what links it to its root.
pub struct Authority {
    pub issuer: CertifiedIssuer<'static, KeyPair>,
    /// From itself up, without the root.
    pub links: Vec<CertificateDer<'static>>,
}

/// A leaf with its chain and key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Vec<u8>,
    pub serial: SerialNumber,
}

pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub fn root(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap());
        Self { issuer: issuer.unwrap(), links: Vec::new() }
    }

    pub fn intermediate(&self, params: CertificateParams) -> Self {
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let links = [vec![issuer.der().clone()], self.links.clone()].concat();
        Self { issuer, links }
    }

    pub fn leaf(&self, edit: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = leaf_params();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = [vec![certificate.der().clone()], self.links.clone()].concat();
        Leaf { chain, key: key.serialize_der(), serial: params.serial_number.unwrap() }
    }

    /// A list of what the authority has revoked, in PEM.
    pub fn list(&self, revoked: &[&SerialNumber], next_update: (i32, u8, u8)) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let (year, month, day) = next_update;
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(year, month, day),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::URI(LEDGER.try_into().unwrap()),
        SanType::DnsName("svc-ledger.causeway.test".try_into().unwrap()),
    ];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(rand::random::<u64>() >> 1));
    params
}

/// A server with files that can change.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub identity: Identity,
    pub server: TlsServer,
    roots: RootCertStore,
}

impl Place {
    /// A server that trusts `roots` and holds clients against `lists`.
    pub fn new(clients: Clients, roots: &[&Authority], lists: &[String], crls: Crls) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = Authority::root("the server's own");
        let leaf = own.leaf(|_| ());
        let write = |name: &str, pem: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let pem = |tag: &str, der: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {tag}-----\n{text}\n-----END {tag}-----\n")
        };
        let config = config::Identity {
            certificate: write("leaf.pem", pem("CERTIFICATE", &leaf.chain[0])),
            key: write("leaf.key", pem("PRIVATE KEY", &leaf.key)),
            trust_bundle: write("roots.pem", roots.iter().map(|root| root.issuer.pem()).collect()),
            trust_domain: "causeway.test".to_owned(),
        };
        let files: Vec<PathBuf> =
            if lists.is_empty() { vec![] } else { vec![write("lists.pem", lists.concat())] };
        let identity = Identity::load_with(&config, &Crls { files, ..crls }).unwrap();
        let server = identity.server(clients, &[b"h2"]).unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(own.issuer.der().clone()).unwrap();
        Self { directory, identity, server, roots: trusted }
    }

    /// Writes a file anew and has it read.
    pub fn put(&self, name: &str, pem: &str) {
        std::fs::write(self.directory.path().join(name), pem).unwrap();
        self.identity.reload();
    }

    /// A handshake with a client. Of a refusal, what the server says to itself and what it tells the client.
    pub fn shake(&self, leaf: &Leaf) -> Result<(), (Error, AlertDescription)> {
        let key = PrivateKeyDer::Pkcs8(leaf.key.clone().into());
        let client = ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(leaf.chain.clone(), key)
            .unwrap();
        shake(self.server.current(), client)
    }
}

fn shake(server: Arc<ServerConfig>, client: ClientConfig) -> Result<(), (Error, AlertDescription)> {
    let name = ServerName::try_from("svc-ledger.causeway.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let judged = deliver(&mut client, &mut server);
        let heard = deliver(&mut server, &mut client);
        match (judged, heard) {
            (Ok(()), Ok(())) => (),
            (Err(error), Err(Error::AlertReceived(alert))) => return Err((error, alert)),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// Carries what one side has to say to the other, which makes of it what it can.
fn deliver<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut read = wire.as_slice();
    while !read.is_empty() {
        to.read_tls(&mut read).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}
