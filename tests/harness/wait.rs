//! Functions that wait for events, each with a timeout. No function waits for a fixed time.
//!
//! Two small helpers return the current time and lock a mutex.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use scuttle_schemas::Timestamp;

/// The timeout for any event that a test waits for. It is far longer than any event takes, because
/// a test machine may be busy.
pub const EVENT_TIMEOUT: Duration = Duration::from_mins(1);

/// The timeout for the reply to one request. If the controllers might not be listening yet, send
/// the request in [`wait_until`], which retries.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The delay between two attempts of [`wait_until`].
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the current time in milliseconds, the precision of the protocol.
pub fn current_timestamp() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Locks a mutex, even if another thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `attempt` until it returns `Ok` with a value that `is_done` accepts, and returns that
/// value.
///
/// # Errors
/// If no such value is returned within [`EVENT_TIMEOUT`]. The error names `event` and lists each
/// outcome that differs from the previous one, with its time.
pub async fn wait_until<T, Attempt, E>(
    event: &str,
    attempt: impl FnMut() -> Attempt,
    is_done: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    E: Debug,
    Attempt: Future<Output = Result<T, E>>,
{
    poll(event, attempt, is_done, Limit::Total).await
}

/// Waits as [`wait_until`] does, but each outcome that differs from the previous outcome restarts
/// [`EVENT_TIMEOUT`]. Use this function for long work that shows its progress.
pub async fn wait_while_progressing<T, Attempt, E>(
    event: &str,
    attempt: impl FnMut() -> Attempt,
    is_done: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    E: Debug,
    Attempt: Future<Output = Result<T, E>>,
{
    poll(event, attempt, is_done, Limit::EachChange).await
}

/// The period that [`EVENT_TIMEOUT`] limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Total,
    EachChange,
}

async fn poll<T, Attempt, E>(
    event: &str,
    mut attempt: impl FnMut() -> Attempt,
    is_done: impl Fn(&T) -> bool,
    limit: Limit,
) -> Result<T>
where
    T: Debug,
    E: Debug,
    Attempt: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    let mut since = start;
    let mut outcomes: Vec<String> = Vec::new();
    let mut last = String::new();
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    while since.elapsed() < EVENT_TIMEOUT {
        ticks.tick().await;
        let outcome = attempt().await;
        let text = format!("{outcome:?}");
        if let Ok(value) = outcome
            && is_done(&value)
        {
            return Ok(value);
        }
        if text != last {
            outcomes.push(format!("{:>6} ms: {text}", start.elapsed().as_millis()));
            last = text;
            if limit == Limit::EachChange {
                since = Instant::now();
            }
        }
    }
    bail!(
        "{event}: not within {EVENT_TIMEOUT:?}; outcomes:\n{}",
        outcomes.join("\n")
    )
}

/// Returns the output of `future`, which must complete within [`EVENT_TIMEOUT`].
///
/// # Errors
/// If the timeout passes first. The error names `event`.
pub async fn with_timeout<T>(event: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(EVENT_TIMEOUT, future)
        .await
        .map_err(|_| anyhow!("{event}: not within {EVENT_TIMEOUT:?}"))
}
