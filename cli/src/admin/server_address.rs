//! The address of the NATS server and the certificate of its authority, as recorded in the bus
//! directory. `scuttle init` writes both, and every command that logs in with the directory's
//! credentials uses them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::admin::files::{self, FileError, Readers};

/// The name of the file that contains the record.
const RECORD_FILE: &str = "client.json";
/// The name of the file that contains the authority's certificate.
const CA_FILE: &str = "ca.pem";

/// How clients reach the NATS server of a bus directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    pub(crate) url: String,
    /// The PEM file with the authority that signed the server's certificate. `None` to trust the
    /// authorities of the system.
    pub(crate) ca: Option<PathBuf>,
}

/// The content of the file [`RECORD_FILE`].
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    url: String,
}

impl ServerAddress {
    /// Writes the record into a new bus directory. `ca` is the text of the authority's certificate.
    pub(crate) fn write(root: &Path, url: &str, ca: Option<&str>) -> Result<(), FileError> {
        if let Some(ca) = ca {
            files::write_new(&root.join(CA_FILE), Readers::All, ca)?;
        }
        let record = Record {
            url: url.to_owned(),
        };
        let text = serde_json::to_string_pretty(&record).expect("a record serializes to JSON");
        files::write_new(&root.join(RECORD_FILE), Readers::All, &(text + "\n"))
    }

    /// Reads the record of a bus directory. Returns `None` if the directory has no record, because
    /// an earlier version has created it.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, FileError> {
        let path = root.join(RECORD_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read(&path)?;
        let record: Record = serde_json::from_str(&text).map_err(|cause| FileError::Failed {
            verb: "read",
            path,
            cause: cause.into(),
        })?;
        let ca = root.join(CA_FILE);
        Ok(Some(Self {
            url: record.url,
            ca: ca.is_file().then_some(ca),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CA_FILE, RECORD_FILE, ServerAddress};

    #[test]
    fn the_address_and_the_authority_are_read_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let read = || ServerAddress::read(dir.path());
        assert_eq!(read().expect("no record"), None);
        ServerAddress::write(dir.path(), "tls://a:1", Some("PEM")).expect("written");
        let expected = ServerAddress {
            url: "tls://a:1".to_owned(),
            ca: Some(dir.path().join(CA_FILE)),
        };
        assert_eq!(read().expect("a record"), Some(expected));
        fs::write(dir.path().join(RECORD_FILE), "[").expect("written");
        let error = read().expect_err("an invalid record").to_string();
        assert!(error.contains(RECORD_FILE), "{error}");
    }
}
