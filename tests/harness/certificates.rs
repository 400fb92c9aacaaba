//! A certificate authority of a test: certificates for a server on loopback and for programs, in PEM files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// An authority, whose files are in the directory that it was made in.
#[derive(Debug)]
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    name: &'static str,
}

impl Ca {
    /// Makes one, and writes its certificate.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn make(dir: &Path, name: &'static str) -> Result<Self> {
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

    /// The file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// A certificate for this name and 127.0.0.1, and its private key, in files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn certificate(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let names = [name.to_owned(), "127.0.0.1".to_owned()];
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
