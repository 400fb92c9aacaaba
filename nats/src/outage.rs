//! Finds out why a lost connection is not restored. The NATS client reports only the kind of a
//! failure while it reconnects, such as "IO error", and not the cause.

use std::time::Duration;

use crate::connect_config::ConnectConfig;
use crate::error::hint;

/// The delay before the first attempt, so that a server that restarts causes no message.
const FIRST_DELAY: Duration = Duration::from_secs(2);

/// The delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Makes separate attempts to connect, and passes each new cause of a failure to `log`, with the
/// remedy. Never returns: drop the future when the connection is restored.
pub async fn log_causes(config: &ConnectConfig, log: impl Fn(&str)) {
    let mut logged = None;
    let mut delay = FIRST_DELAY;
    loop {
        tokio::time::sleep(delay).await;
        delay = RETRY_DELAY;
        let cause = find_cause(config).await;
        if let Some(cause) = &cause
            && logged.as_ref() != Some(cause)
        {
            log(cause);
        }
        logged = cause.or(logged);
    }
}

/// Makes one attempt to connect. Returns the cause of the failure and the remedy, or `None` if the
/// attempt succeeds.
async fn find_cause(config: &ConnectConfig) -> Option<String> {
    let prepared =
        (config.connect_options()).and_then(|options| Ok((options, config.server_addresses()?)));
    match prepared {
        Err(error) => Some(error.to_string()),
        Ok((options, servers)) => {
            let error = options.connect(servers).await.err()?;
            Some(format!("{error}; {}", hint(&error)))
        }
    }
}
