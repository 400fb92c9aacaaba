//! The open connections of the HTTP server: how many there may be, and which of them may ask for
//! everything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// The maximum number of regular connections, which may request everything. A browser opens up to
/// six.
const MAX_REGULAR: usize = 64;

/// The maximum number of connections in the reserve.
const MAX_RESERVE: usize = 64;

/// The time that a connection in the reserve has for its request before another connection may
/// replace it.
const MIN_RESERVED_TIME: Duration = Duration::from_millis(100);

/// The open connections. While the regular connections are all in use, a new connection goes to the
/// reserve, which answers health requests only. A full reserve closes its oldest connection for the
/// next one, so a client that holds connections cannot keep a probe out.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    regular: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    /// The connections in the reserve, oldest first, each with its start. Ended ones are removed
    /// when the next one is added.
    reserved: VecDeque<(Instant, AbortHandle)>,
}

/// The right to an open connection, which lasts until the permit is dropped.
#[derive(Debug)]
pub(super) enum Permit {
    Regular(OwnedSemaphorePermit),
    Reserve(OwnedSemaphorePermit),
}

impl ConnectionPool {
    pub(super) fn new() -> Self {
        Self {
            regular: Arc::new(Semaphore::new(MAX_REGULAR)),
            reserve: Arc::new(Semaphore::new(MAX_RESERVE)),
            reserved: VecDeque::new(),
        }
    }

    /// Returns the permit for a new connection. If the reserve is full too, waits until one of its
    /// connections has ended or may be closed.
    pub(super) async fn acquire(&mut self) -> Permit {
        if let Ok(permit) = self.regular.clone().try_acquire_owned() {
            return Permit::Regular(permit);
        }
        self.reserved.retain(|(_, open)| !open.is_finished());
        let oldest = self.reserved.front().map(|(start, _)| *start);
        let replaceable_at = oldest.unwrap_or_else(Instant::now) + MIN_RESERVED_TIME;
        let acquired = timeout_at(replaceable_at, self.reserve.clone().acquire_owned()).await;
        let permit = if let Ok(permit) = acquired {
            permit
        } else {
            if let Some((_, oldest)) = self.reserved.pop_front() {
                oldest.abort();
            }
            self.reserve.clone().acquire_owned().await
        };
        Permit::Reserve(permit.expect("the semaphore is never closed"))
    }

    /// Records the task of a connection that holds a permit of the reserve.
    pub(super) fn add_to_reserve(&mut self, connection: AbortHandle) {
        self.reserved.push_back((Instant::now(), connection));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::{ConnectionPool, MAX_REGULAR, MAX_RESERVE, Permit};

    #[tokio::test]
    async fn a_full_reserve_closes_its_oldest_connection_for_the_next_one() {
        let mut pool = ConnectionPool::new();
        let mut regular = Vec::new();
        let mut reserved = Vec::new();
        for _ in 0..=MAX_REGULAR + MAX_RESERVE {
            match pool.acquire().await {
                Permit::Regular(permit) => regular.push(permit),
                Permit::Reserve(permit) => {
                    let connection = tokio::spawn(async move {
                        let _permit = permit;
                        pending::<()>().await;
                    });
                    pool.add_to_reserve(connection.abort_handle());
                    reserved.push(connection);
                }
            }
        }
        assert_eq!(regular.len(), MAX_REGULAR);
        let oldest = reserved.remove(0).await.expect_err("closed");
        assert!(oldest.is_cancelled());
        assert!(reserved.iter().all(|open| !open.is_finished()));
        regular.pop();
        assert!(matches!(pool.acquire().await, Permit::Regular(_)));
    }
}
