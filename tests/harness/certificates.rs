//! A certificate authority for tests of TLS. It issues certificates for servers on loopback and for
//! programs, as PEM files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority that writes all its files to one directory.
#[derive(Debug)]
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    name: &'static str,
}

impl CertificateAuthority {
    /// Creates an authority with this name, and writes its certificate to `dir`.
    pub fn create(dir: &Path, name: &'static str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        std::fs::write(
            dir.join(format!("{name}.pem")),
            params.self_signed(&key)?.pem(),
        )?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            dir: dir.to_owned(),
            name,
        })
    }

    /// Returns the path of the authority's certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// Issues a certificate for `name` and 127.0.0.1. Returns the paths of the certificate and of
    /// its private key.
    pub fn issue(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        self.issue_for(name, &[name, "127.0.0.1"])
    }

    /// Issues a certificate for these names and addresses. Returns the paths of the certificate and
    /// of its private key, which contain `name`.
    pub fn issue_for(&self, name: &str, names: &[&str]) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let file = |ending| self.dir.join(format!("{}-{name}.{ending}", self.name));
        let (certificate, private) = (file("crt"), file("key"));
        std::fs::write(&certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&private, key.serialize_pem())?;
        Ok((certificate, private))
    }
}
