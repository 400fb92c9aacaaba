//! The configuration file of the NATS server, as text. It names the server's own folders by their whole paths, so that the
//! server can be started from anywhere.

use std::path::{Path, PathBuf};

use crate::accounts::MAX_CONNECTIONS;

/// What the server is told.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    /// The address that it listens on.
    pub(crate) host: &'a str,
    /// The port for programs.
    pub(crate) port: u16,
    /// The port for browsers, if any.
    pub(crate) websocket_port: Option<u16>,
    /// The certificates, if any.
    pub(crate) tls: Option<&'a ServerTls>,
    /// The folder of the server's own files.
    pub(crate) folder: &'a Path,
    /// The operator's token.
    pub(crate) operator: &'a str,
    /// The system account's public key.
    pub(crate) system_account: &'a str,
}

/// The server's certificate.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// The certificate and what follows it up to the authority (PEM).
    pub(crate) certificate: PathBuf,
    /// Its private key (PEM).
    pub(crate) key: PathBuf,
    /// The authority of the programs' certificates; each must show one, if it is there.
    pub(crate) clients: Option<PathBuf>,
}

impl Server<'_> {
    /// The file.
    pub(crate) fn text(&self) -> String {
        let Self {
            host,
            port,
            operator,
            system_account,
            ..
        } = self;
        let host = quoted(host);
        let tls = self.tls.map(|tls| tls.block(None)).unwrap_or_default();
        let websocket = self.websocket();
        let (resolver, store) = (self.path("resolver"), self.path("jetstream"));
        format!(
            r#"# Scuttle's NATS server, made by `scuttle init`: nats-server -c THIS_FILE
# Who may come in is not here: the operator vouches for accounts, each account's role keys for users. So `scuttle enroll` and
# `scuttle user add` need no reload. Nothing in this file or beside it is secret; the keys are not needed here.
# Moved to another machine, it wants accounts.conf beside it, and the folders below named anew.

host: {host}
port: {port}
{tls}{websocket}
operator: {operator}
system_account: {system_account}
# The accounts: those of accounts.conf at the first start, then what the scuttle command has told the server since.
resolver {{
  type: full
  dir: {resolver}
  # An account is never taken away: its users are revoked one by one.
  allow_delete: false
  # How often servers of one cluster compare what they have.
  interval: "2m"
  # The four accounts, and none beside them.
  limit: 4
}}
include "./accounts.conf"

jetstream {{
  store_dir: {store}
  # What JetStream acknowledges has been fsynced, as the controller's own answers have.
  sync_interval: always
}}

# The longest message is a list page or an inventory page; broadcasts and inventory pages are at most 256 KiB.
max_payload: 1MB
# More than the accounts may have together (10,240 SCUTTLE, 512 OPERATORS, 512 VIEWERS, 64 SYS), so that none keeps another out.
# Each needs a file: see `ulimit -n`. How many subscriptions a connection may have depends on the role: 8 to 128.
max_connections: {MAX_CONNECTIONS}
# What waits for one client that does not read. All hosts' inventories come to the controller at once when it is back, so it is
# no less; a client beyond it, or stuck for the second, is cut off, and the others go on.
max_pending: 64MB
write_deadline: "10s"
# A host that lost its power without a word is noticed after 90 s, not 6 minutes: until then its connection counts.
ping_interval: "30s"
ping_max: 2
"#
        )
    }

    fn websocket(&self) -> String {
        let Some(port) = self.websocket_port else {
            return String::new();
        };
        let host = quoted(self.host);
        let security = self.tls.map_or_else(
            // Loopback alone: see `scuttle init`.
            || "  no_tls: true\n".to_owned(),
            |tls| tls.block(Some("  ")),
        );
        format!("\n# For browsers.\nwebsocket {{\n  host: {host}\n  port: {port}\n{security}}}\n")
    }

    fn path(&self, name: &str) -> String {
        quoted(&self.folder.join(name).to_string_lossy())
    }
}

impl ServerTls {
    fn block(&self, indent: Option<&str>) -> String {
        let file = |path: &Path| quoted(&path.to_string_lossy());
        let mut lines = vec![
            "tls {".to_owned(),
            format!("  cert_file: {}", file(&self.certificate)),
            format!("  key_file: {}", file(&self.key)),
        ];
        // Browsers show no certificate.
        if let (Some(clients), None) = (&self.clients, indent) {
            lines.push(
                "  # Who shows no certificate of this authority is not even asked for a login."
                    .to_owned(),
            );
            lines.push(format!("  ca_file: {}", file(clients)));
            lines.push("  verify: true".to_owned());
        }
        if indent.is_none() {
            lines.push("  # All hosts come at once after a restart, and each handshake costs a millisecond.".to_owned());
            lines.push("  timeout: 5".to_owned());
        }
        lines.push("}".to_owned());
        let indent = indent.unwrap_or_default();
        let lines: Vec<_> = lines.iter().map(|line| format!("{indent}{line}")).collect();
        lines.join("\n") + "\n"
    }
}

/// Text in quotes, as the server reads it.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}
