//! Taking users' credentials back: in the account's token, here and at the server, which closes their connections at once.

use async_nats::HeaderMap;
use scuttle_nats::Credentials;
use serde::Deserialize;

use crate::accounts::AccountName;
use crate::ask::{AskError, Bus};
use crate::connect::Connection;
use crate::directory::{Directory, DirectoryError, KeyName};
use crate::issued::{Issued, now, seconds};
use crate::roles::CLAIMS_UPDATE;

/// Why credentials may still be good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    /// The bus directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The server was not told.
    #[error(
        "the server has not taken the account {account}: {cause}; the credentials are good until it has: run this again"
    )]
    NotTold {
        /// The account.
        account: &'static str,
        /// Why not.
        cause: AskError,
    },
    /// The server does not take it.
    #[error("the server refuses the account {account}: {answer}; the credentials are still good")]
    Refused {
        /// The account.
        account: &'static str,
        /// What it says.
        answer: String,
    },
}

/// Revokes `users`, all of one account, and tells the server. Without any it tells the server all the same: the last time may
/// have failed. `connection` is how the server is reached; the login is the directory's own.
pub(crate) async fn revoke(
    directory: &Directory,
    account: AccountName,
    users: &[Issued],
    connection: &Connection,
) -> Result<(), RevokeError> {
    // Before anything is changed: a key that was moved away is to be brought first.
    let key = directory.key(KeyName::Accounts)?;
    if !users.is_empty() {
        let mut claims = directory.account(account)?;
        let now = seconds(now());
        for user in users {
            // Not before the token was made, whatever the clock says now.
            let until = now.max(seconds(user.at));
            claims
                .nats
                .revocations
                .insert(user.public_key.clone(), until);
        }
        // A server keeps the later one.
        claims.iat = now.max(claims.iat + 1);
        directory.put_account(account, claims, &key)?;
    }
    push(directory, account, connection).await
}

async fn push(
    directory: &Directory,
    account: AccountName,
    connection: &Connection,
) -> Result<(), RevokeError> {
    let token = directory.token(account)?;
    let mut connection = connection.clone();
    connection.access.credentials = Credentials::File(directory.creds("system"));
    // Its user has the usual inboxes.
    connection.inbox_prefix = None;
    let account = account.name();
    let not_told = |cause| RevokeError::NotTold { account, cause };
    let bus = Bus::connect(&connection).await.map_err(not_told)?;
    let answer = bus
        .raw(CLAIMS_UPDATE, HeaderMap::new(), token.into_bytes())
        .await;
    let answer = answer.map_err(not_told)?.payload;
    let done = serde_json::from_slice::<Answer>(&answer)
        .is_ok_and(|answer| answer.data.is_some_and(|data| data.code == 200));
    if done {
        return Ok(());
    }
    Err(RevokeError::Refused {
        account,
        answer: String::from_utf8_lossy(&answer).into_owned(),
    })
}

/// What the server says: `data` when it has done it, `error` when not.
#[derive(Deserialize)]
struct Answer {
    data: Option<Done>,
}

#[derive(Deserialize)]
struct Done {
    code: u16,
}
