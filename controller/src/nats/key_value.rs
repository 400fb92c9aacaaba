//! Key-value buckets on the NATS servers.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::context::CreateKeyValueError;
use async_nats::jetstream::kv::{Config, Store};

/// Opens a bucket, whose servers may take so long for each answer; makes it if it is missing.
///
/// # Errors
/// The servers do not do it.
pub async fn open(
    client: Client,
    config: Config,
    patience: Duration,
) -> Result<Store, CreateKeyValueError> {
    let mut context = jetstream::new(client);
    context.set_timeout(patience);
    match context.get_key_value(&config.bucket).await {
        Ok(there) => Ok(there),
        Err(_) => context.create_key_value(config).await,
    }
}
