//! Revokes users' credentials by changing the token of their account, both in the keystore and at
//! the server. The server then closes the users' connections.

use async_nats::HeaderMap;
use scuttle_nats::Credentials;
use serde::Deserialize;

use super::client_error::ClientError;
use super::connection::Connection;
use super::nats_client::Client;
use crate::admin::accounts::AccountName;
use crate::admin::keystore::{KeyName, Keystore, KeystoreError};
use crate::admin::roles::CLAIMS_UPDATE;
use crate::admin::user_records::UserRecord;
use crate::clock::{now, to_unix_seconds};

/// The reason why revoking credentials failed. The credentials may still be valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The server has not confirmed the new token of the account.
    #[error(
        "cannot update the account {account} at the server: {cause}; the credentials stay valid until this succeeds: run the command again"
    )]
    NotUpdated {
        account: &'static str,
        cause: ClientError,
    },
    /// The server rejected the new token of the account.
    #[error(
        "the server rejected the update of the account {account}: {reply}; the credentials are still valid"
    )]
    Rejected {
        account: &'static str,
        reply: String,
    },
}

/// Revokes the credentials of `users`, who must all belong to `account`, and updates the account at
/// the server.
///
/// The server is updated even if `users` is empty, because an earlier update may have failed.
/// `connection` supplies the address of the server, but not the login, which is the system user of
/// the bus directory.
pub(crate) async fn revoke_users(
    keystore: &Keystore,
    account: AccountName,
    users: &[UserRecord],
    connection: &Connection,
) -> Result<(), RevokeError> {
    // Read before any change, so that a missing key fails the command before it has an effect.
    let key = keystore.load_key(KeyName::Accounts)?;
    if !users.is_empty() {
        let mut claims = keystore.load_account(account)?;
        let now = to_unix_seconds(now());
        for user in users {
            // At least the time of the user's token, in case the clock was set back since.
            let until = now.max(to_unix_seconds(user.at));
            claims
                .nats
                .revocations
                .insert(user.public_key.clone(), until);
        }
        // Of two tokens, a server keeps the one that was issued later.
        claims.iat = now.max(claims.iat + 1);
        keystore.store_account(account, claims, &key)?;
    }
    push_account(keystore, account, connection).await
}

/// Sends the stored token of an account to the server.
async fn push_account(
    keystore: &Keystore,
    account: AccountName,
    connection: &Connection,
) -> Result<(), RevokeError> {
    let token = keystore.load_token(account)?;
    let mut connection = connection.clone();
    connection.config.credentials = Credentials::File(keystore.credentials("system"));
    // A prefix in the NATS context is for another user.
    connection.inbox_prefix = None;
    // The command has already printed which context it does not use.
    connection.ignored_context = None;
    let account = account.name();
    let not_updated = |cause| RevokeError::NotUpdated { account, cause };
    let client = Client::connect(&connection).await.map_err(not_updated)?;
    let reply = client
        .request_raw(CLAIMS_UPDATE, HeaderMap::new(), token.into_bytes())
        .await;
    let reply = reply.map_err(not_updated)?.payload;
    let accepted = serde_json::from_slice::<ClaimsUpdateReply>(&reply)
        .is_ok_and(|reply| reply.data.is_some_and(|data| data.code == 200));
    if accepted {
        return Ok(());
    }
    Err(RevokeError::Rejected {
        account,
        reply: String::from_utf8_lossy(&reply).into_owned(),
    })
}

/// The server's reply to an account update. `data` is missing if the update failed.
#[derive(Deserialize)]
struct ClaimsUpdateReply {
    data: Option<ClaimsUpdateData>,
}

#[derive(Deserialize)]
struct ClaimsUpdateData {
    code: u16,
}
