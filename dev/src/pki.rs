//! The certificates of a mesh, made by three authorities with nothing in common: one for workloads, one for partners, one for
//! servers (the public listener and the stores). The authorities are made once; every start issues the other certificates
//! anew, so none ever runs out.

use crate::part::Part;
use crate::state::{self, State};
use anyhow::{Context, Result};
use base64::Engine;
use chassis::transaction_token;
use chrono::{Datelike, Duration, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// The trust domain of the local mesh.
pub const TRUST_DOMAIN: &str = "causeway.internal";
/// The partner that has a certificate, as the edge and the services know it.
pub const PARTNER_ID: &str = "acme-pay";
/// What the partner's certificate says about it.
pub const PARTNER_URI: &str = "spiffe://partners.causeway.internal/acme-pay";

/// How long an authority lasts. Its key never leaves the state folder.
const AUTHORITY_DAYS: i64 = 3650;
/// How long any other certificate lasts: longer than a developer leaves a mesh running, shorter than what browsers refuse.
const LEAF_DAYS: i64 = 90;

/// A certificate with its key, as PEM files.
#[derive(Clone, Debug)]
pub struct KeyedCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// An authority that can issue certificates.
pub struct Authority {
    /// The PEM file to trust.
    pub certificate: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate shall say.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub common_name: &'a str,
    pub names: Vec<SanType>,
    /// The last day of validity; `None` for the usual term. A day in the past makes a certificate that has run out.
    pub not_after: Option<NaiveDate>,
}

/// Every authority and certificate of a mesh.
pub struct Pki {
    folder: PathBuf,
    pub workload_authority: Authority,
    pub partner_authority: Authority,
    pub server_authority: Authority,
    /// What the public and the partner listener show.
    pub public: KeyedCertificate,
    /// What PostgreSQL, Redis and MongoDB show.
    pub store: KeyedCertificate,
    /// What the partner calls with.
    pub partner: KeyedCertificate,
    /// The private keys of the edge's transaction tokens.
    pub transaction_keys: PathBuf,
    /// Their public halves, for the services.
    pub edge_keys: PathBuf,
    /// The private key that signs heads of the journal, and the public half for whoever checks a proof.
    pub head_key: PathBuf,
    /// See [`Pki::head_key`].
    pub head_public: PathBuf,
    /// SHA-256 of the partner's certificate as `cnf` carries it (RFC 8705).
    pub partner_thumbprint: String,
}

impl Pki {
    /// Reads the authorities, or makes them, and issues every certificate.
    pub fn load(state: &State) -> Result<Self> {
        let folder = state.pki();
        let workload_authority = Authority::load(&folder, "workload-ca", "Causeway development workloads")?;
        let partner_authority = Authority::load(&folder, "partner-ca", "Causeway development partners")?;
        let server_authority = Authority::load(&folder, "server-ca", "Causeway development servers")?;

        for part in Part::WORKLOADS {
            workload_authority.issue(&folder, part.name(), &workload(part.name())?)?;
        }
        let public = server_authority.issue(&folder, "public", &local("localhost")?)?;
        let store = server_authority.issue(&folder, "store", &local("store.causeway.internal")?)?;
        let names = vec![SanType::URI(PARTNER_URI.try_into()?)];
        let subject = Subject { common_name: PARTNER_ID, names, not_after: None };
        let partner = partner_authority.issue(&folder, "partner", &subject)?;
        let partner_thumbprint = thumbprint(&partner.certificate)?;
        let (transaction_keys, edge_keys) =
            (folder.join("transaction-tokens.key"), folder.join("transaction-tokens.pem"));
        let key = transaction_token::generate()?;
        state::write_private(&transaction_keys, &key)?;
        state::write_private(&edge_keys, transaction_token::public_half(&key)?)?;
        let (head_key, head_public) = head_key(&folder)?;
        Ok(Self {
            folder,
            workload_authority,
            partner_authority,
            server_authority,
            public,
            store,
            partner,
            transaction_keys,
            edge_keys,
            head_key,
            head_public,
            partner_thumbprint,
        })
    }

    /// The certificate of one of the five workloads.
    #[must_use]
    pub fn workload(&self, part: Part) -> KeyedCertificate {
        KeyedCertificate::named(&self.folder, part.name())
    }

    /// Issues the certificate of a workload that is not one of the five, `spiffe://causeway.internal/<name>`.
    pub fn issue_workload(&self, name: &str) -> Result<KeyedCertificate> {
        self.workload_authority.issue(&self.folder, name, &workload(name)?)
    }

    /// Issues the certificate of a workload by another authority than this mesh's first.
    pub fn issue_workload_by(&self, authority: &Authority, name: &str) -> Result<KeyedCertificate> {
        authority.issue(&self.folder, name, &workload(name)?)
    }

    /// Issues anew what the public and the partner listener show.
    pub fn reissue_public(&self) -> Result<KeyedCertificate> {
        self.server_authority.issue(&self.folder, "public", &local("localhost")?)
    }

    /// Another authority for workloads. Nobody trusts it until [`Pki::trust_workloads`] says so.
    pub fn another_workload_authority(&self, name: &str) -> Result<Authority> {
        Authority::load(&self.folder, name, "Causeway development workloads")
    }

    /// Makes these authorities, and no other, the ones whose workloads are believed: the bundle that every process watches.
    pub fn trust_workloads(&self, authorities: &[&Authority]) -> Result<()> {
        let bundle: String = authorities.iter().map(|authority| authority.issuer.pem()).collect();
        state::write_private(&self.workload_authority.certificate, bundle)
    }

    /// Issues any certificate by one of this mesh's authorities into files called `name`.
    pub fn issue(
        &self,
        authority: &Authority,
        name: &str,
        subject: &Subject<'_>,
    ) -> Result<KeyedCertificate> {
        authority.issue(&self.folder, name, subject)
    }
}

impl KeyedCertificate {
    fn named(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }
}

impl Authority {
    fn load(folder: &Path, name: &str, common_name: &str) -> Result<Self> {
        let files = KeyedCertificate::named(folder, name);
        let key = state::read_or_create(&files.key, || Ok(KeyPair::generate()?.serialize_pem()))?;
        let key = KeyPair::from_pem(&key).with_context(|| format!("cannot use {}", files.key.display()))?;
        let mut params = params(common_name, Utc::now().date_naive() + Duration::days(AUTHORITY_DAYS));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The same name and key at every start make the same authority, but clients were told to trust this very file.
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        state::read_or_create(&files.certificate, || Ok(issuer.pem()))?;
        Ok(Self { certificate: files.certificate, issuer })
    }

    fn issue(&self, folder: &Path, name: &str, subject: &Subject<'_>) -> Result<KeyedCertificate> {
        let files = KeyedCertificate::named(folder, name);
        let last_day =
            subject.not_after.unwrap_or_else(|| Utc::now().date_naive() + Duration::days(LEAF_DAYS));
        let mut params = params(subject.common_name, last_day);
        params.subject_alt_names.clone_from(&subject.names);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        // The key first: whoever watches the certificate finds its key already there.
        state::write_private(&files.key, key.serialize_pem())?;
        state::write_private(&files.certificate, certificate.pem())?;
        Ok(files)
    }
}

/// The key of the journal's heads. It outlives a mesh, as the journal does: what was signed stays provable.
fn head_key(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (private, public) = (folder.join("journal-heads.key"), folder.join("journal-heads.pub"));
    let key = match std::fs::read_to_string(&private) {
        Ok(key) => key,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = transaction_token::generate()?;
            state::write_private(&private, &key)?;
            key
        }
        Err(error) => return Err(error.into()),
    };
    state::write_private(&public, transaction_token::public_half(&key)?)?;
    Ok((private, public))
}

fn params(common_name: &str, last_day: NaiveDate) -> CertificateParams {
    // Two days back: clocks differ, and a certificate whose last day is yesterday must still have been valid once.
    let first_day = last_day.min(Utc::now().date_naive()) - Duration::days(2);
    let mut params = CertificateParams::default();
    let date = |day: NaiveDate| rcgen::date_time_ymd(day.year(), day.month() as u8, day.day() as u8);
    params.not_before = date(first_day);
    params.not_after = date(last_day);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Causeway development");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// A workload's names: exactly one SPIFFE id and one DNS name, which its callers send as SNI.
fn workload(name: &str) -> Result<Subject<'_>> {
    let names = vec![
        SanType::URI(format!("spiffe://{TRUST_DOMAIN}/{name}").try_into()?),
        SanType::DnsName(format!("{name}.{TRUST_DOMAIN}").try_into()?),
    ];
    Ok(Subject { common_name: name, names, not_after: None })
}

/// The names of a server that is reached over loopback.
fn local(common_name: &str) -> Result<Subject<'_>> {
    let names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    Ok(Subject { common_name, names, not_after: None })
}

/// SHA-256 of a certificate, base64url: what `cnf` `x5t#S256` holds.
pub fn thumbprint(certificate: &Path) -> Result<String> {
    let der = CertificateDer::from_pem_file(certificate)
        .with_context(|| format!("cannot read {}", certificate.display()))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(&der)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::pem::parse_x509_pem;
    use x509_parser::prelude::X509Certificate;

    fn with<T>(path: &Path, look: impl Fn(&X509Certificate<'_>) -> T) -> T {
        let pem = std::fs::read(path).unwrap();
        let (_, pem) = parse_x509_pem(&pem).unwrap();
        look(&pem.parse_x509().unwrap())
    }

    fn names(path: &Path) -> Vec<String> {
        with(path, |certificate| {
            let names = certificate.subject_alternative_name().unwrap().unwrap();
            names.value.general_names.iter().map(|name| format!("{name:?}")).collect()
        })
    }

    /// Whether `authority` vouches for the certificate.
    fn vouches(authority: &Authority, certificate: &Path) -> bool {
        with(&authority.certificate, |authority| {
            with(certificate, |leaf| leaf.verify_signature(Some(authority.public_key())).is_ok())
        })
    }

    #[test]
    fn each_authority_vouches_for_its_own_kind_only() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::load(&State::open(folder.path()).unwrap()).unwrap();
        let workload = pki.workload(Part::Ledger).certificate;
        let kinds = [
            (&pki.workload_authority, &workload),
            (&pki.partner_authority, &pki.partner.certificate),
            (&pki.server_authority, &pki.store.certificate),
        ];
        for (authority, _) in kinds {
            for (of, certificate) in kinds {
                assert_eq!(vouches(authority, certificate), authority.certificate == of.certificate);
            }
        }
    }

    #[test]
    fn workload_has_one_spiffe_id_and_one_dns_name() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::load(&State::open(folder.path()).unwrap()).unwrap();
        let certificate = pki.workload(Part::Ledger).certificate;
        let expect =
            ["URI(\"spiffe://causeway.internal/svc-ledger\")", "DNSName(\"svc-ledger.causeway.internal\")"];
        assert_eq!(names(&certificate), expect);
    }

    #[test]
    fn authorities_stay_and_other_certificates_are_new_at_every_start() {
        let folder = tempfile::tempdir().unwrap();
        let load = || {
            let pki = Pki::load(&State::open(folder.path()).unwrap()).unwrap();
            let read = |path: &Path| std::fs::read_to_string(path).unwrap();
            let store = pki.store.certificate.clone();
            assert!(
                vouches(&pki.server_authority, &store),
                "the authority of the first start vouches at every start"
            );
            (read(&pki.server_authority.certificate), read(&store))
        };
        let (first, second) = (load(), load());
        assert_eq!(first.0, second.0);
        assert_ne!(first.1, second.1);
    }

    #[test]
    fn certificate_can_have_run_out() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::load(&State::open(folder.path()).unwrap()).unwrap();
        let yesterday = Utc::now().date_naive() - Duration::days(1);
        let subject = Subject { common_name: "late", names: Vec::new(), not_after: Some(yesterday) };
        let late = pki.issue(&pki.partner_authority, "late", &subject).unwrap();
        with(&late.certificate, |certificate| {
            let validity = certificate.validity();
            assert!(!validity.is_valid() && validity.not_before < validity.not_after);
        });
    }
}
