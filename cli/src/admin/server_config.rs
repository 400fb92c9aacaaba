//! The text of the NATS server's configuration file. Paths in the file are absolute, so that the
//! server can be started in any directory.

use std::path::{Path, PathBuf};

use crate::admin::accounts::MAX_CONNECTIONS;

/// The settings that differ between configuration files. All other settings are fixed.
#[derive(Debug)]
pub(crate) struct ServerConfig<'a> {
    /// The address to listen on.
    pub(crate) host: &'a str,
    /// The TCP port for programs, as opposed to browsers.
    pub(crate) port: u16,
    /// The port for browsers. `None` disables WebSocket.
    pub(crate) websocket_port: Option<u16>,
    pub(crate) tls: Option<&'a ServerTls>,
    /// The directory in which the server stores accounts and `JetStream` data.
    pub(crate) data_directory: &'a Path,
    /// The token of the NATS operator.
    pub(crate) operator: &'a str,
    /// The public key of the system account.
    pub(crate) system_account: &'a str,
}

/// The paths of the server's certificate and private key, and of the authority for client
/// certificates.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// The certificate chain (PEM).
    pub(crate) certificate: PathBuf,
    /// The private key of the certificate (PEM).
    pub(crate) key: PathBuf,
    /// The authority (PEM) that must have signed the client certificate of each program. `None` if
    /// programs need no certificate.
    pub(crate) client_ca: Option<PathBuf>,
}

impl ServerConfig<'_> {
    /// Returns the text of the configuration file.
    pub(crate) fn render(&self) -> String {
        let Self {
            host,
            port,
            operator,
            system_account,
            ..
        } = self;
        let host = quote(host);
        let tls = self.tls.map(|tls| tls.render(None)).unwrap_or_default();
        let websocket = self.render_websocket();
        let (resolver, store) = (self.path("resolver"), self.path("jetstream"));
        format!(
            r#"# The NATS server of Scuttle, created by `scuttle init`. Start it with: nats-server -c THIS_FILE
# This file does not list users: the operator signs accounts, and the role keys of each account sign users. `scuttle enroll` and
# `scuttle user add` therefore need no reload. Nothing in this directory is secret; the keys are not needed here.
# To move the server to another machine, copy accounts.conf too, and change the paths below.

host: {host}
port: {port}
{tls}{websocket}
operator: {operator}
system_account: {system_account}
# The accounts: those in accounts.conf at the first start, and then the updates that the scuttle command sends.
resolver {{
  type: full
  dir: {resolver}
  # Accounts are never deleted: users are revoked one by one.
  allow_delete: false
  # How often the servers of one cluster compare their accounts.
  interval: "2m"
  # The four accounts, and no others.
  limit: 4
}}
include "./accounts.conf"

jetstream {{
  store_dir: {store}
  # JetStream acknowledges a message only after fsync, so accepted operations survive a power cut.
  sync_interval: always
}}

# The largest messages are list pages. Broadcasts and inventory pages are at most 256 KiB.
max_payload: 1MB
# More than the limits of all accounts together (10,240 SCUTTLE, 512 OPERATORS, 512 VIEWERS, 64 SYS), so that no account can use
# up the connections of another. Each connection needs a file descriptor: see `ulimit -n`. A connection may have 8 to 128
# subscriptions, depending on the role.
max_connections: {MAX_CONNECTIONS}
# The data buffered for a client that reads slowly. The controller receives the inventories of all hosts at once after a restart,
# so the limit must not be lower. A client over the limit, or stuck for longer than the deadline, is disconnected.
max_pending: 64MB
write_deadline: "10s"
# A host that loses power is noticed after 90 s instead of 6 minutes. Its connection counts until then.
ping_interval: "30s"
ping_max: 2
"#
        )
    }

    fn render_websocket(&self) -> String {
        let Some(port) = self.websocket_port else {
            return String::new();
        };
        let host = quote(self.host);
        let security = self.tls.map_or_else(
            // `scuttle init` requires a certificate for any address other than loopback.
            || "  no_tls: true\n".to_owned(),
            |tls| tls.render(Some("  ")),
        );
        format!("\n# For browsers.\nwebsocket {{\n  host: {host}\n  port: {port}\n{security}}}\n")
    }

    fn path(&self, name: &str) -> String {
        quote(&self.data_directory.join(name).to_string_lossy())
    }
}

impl ServerTls {
    /// Renders a `tls` block. With an indentation, this is the block for browsers, which need no
    /// client certificates. If `indent` is `None`, it is the block for programs.
    fn render(&self, indent: Option<&str>) -> String {
        let file = |path: &Path| quote(&path.to_string_lossy());
        let mut lines = vec![
            "tls {".to_owned(),
            format!("  cert_file: {}", file(&self.certificate)),
            format!("  key_file: {}", file(&self.key)),
        ];
        // Browsers present no certificate.
        if let (Some(client_ca), None) = (&self.client_ca, indent) {
            lines.push(
                "  # A program without a certificate of this authority cannot log in.".to_owned(),
            );
            lines.push(format!("  ca_file: {}", file(client_ca)));
            lines.push("  verify: true".to_owned());
        }
        if indent.is_none() {
            lines.push("  # After a restart, all hosts connect at once, and each handshake takes a millisecond.".to_owned());
            lines.push("  timeout: 5".to_owned());
        }
        lines.push("}".to_owned());
        let indent = indent.unwrap_or_default();
        let lines: Vec<_> = lines.iter().map(|line| format!("{indent}{line}")).collect();
        lines.join("\n") + "\n"
    }
}

/// Quotes text as the server's configuration format requires.
fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}
