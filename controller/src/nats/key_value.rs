//! Key-value buckets on the NATS servers.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::context::CreateKeyValueError;
use async_nats::jetstream::kv::{Config, Store};

/// Opens a bucket, and creates it if it is missing. `request_timeout` applies to each request to
/// the servers.
pub async fn open(
    client: Client,
    config: Config,
    request_timeout: Duration,
) -> Result<Store, CreateKeyValueError> {
    let mut context = jetstream::new(client);
    context.set_timeout(request_timeout);
    match context.get_key_value(&config.bucket).await {
        Ok(bucket) => Ok(bucket),
        Err(_) => context.create_key_value(config).await,
    }
}
