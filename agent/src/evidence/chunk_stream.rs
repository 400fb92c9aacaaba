//! A bounded queue of chunks of data, from an asynchronous source to a thread that reads them with
//! [`io::Read`]. An archive is written on such a thread, because compression and disks block.

use std::io::{self, BufRead, ErrorKind, Read};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::error::EvidenceError;

/// The maximum number of blocks in the queue.
const QUEUE_BLOCKS: usize = 4;
/// A block is sent when it has reached this size. A single chunk of the Engine may have a few
/// hundred KiB.
const BLOCK_BYTES: usize = 64 * 1024;
/// The maximum time from a chunk to the next one of the same block.
const MAX_BLOCK_DELAY: Duration = Duration::from_millis(2);

enum Chunk {
    Data(Bytes),
    /// The source failed. The text says why.
    Failed(String),
    End,
}

/// The receiving end of the queue. Its methods block, so they must not be called on an async
/// thread.
///
/// A read fails if the source has failed, or if the sending end was dropped before the end of the
/// data.
pub(crate) struct ChunkReader {
    receiver: mpsc::Receiver<Chunk>,
    current: Bytes,
    ended: bool,
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Chunk::Data(data)) => self.current = data,
                Some(Chunk::Failed(cause)) => return Err(io::Error::other(cause)),
                Some(Chunk::End) => self.ended = true,
                None => {
                    let text = "the teardown was interrupted";
                    return Err(io::Error::new(ErrorKind::ConnectionAborted, text));
                }
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let data = self.fill_buf()?;
        let count = data.len().min(buffer.len());
        buffer[..count].copy_from_slice(&data[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Runs `job` on a thread for blocking work, and passes it the data of `source`. If this future is
/// dropped, the next read of the job fails, so that the job ends soon.
///
/// # Errors
/// If the job panicked.
pub(crate) async fn run_with_source<T: Send + 'static>(
    source: impl Stream<Item = Result<Bytes, String>>,
    job: impl FnOnce(ChunkReader) -> T + Send + 'static,
) -> Result<T, EvidenceError> {
    let (sender, receiver) = mpsc::channel(QUEUE_BLOCKS);
    let reader = ChunkReader {
        receiver,
        current: Bytes::new(),
        ended: false,
    };
    let mut running = tokio::task::spawn_blocking(move || job(reader));
    let finished = tokio::select! {
        biased;
        finished = &mut running => finished,
        () = send_all(source, sender) => running.await,
    };
    finished.map_err(|_| EvidenceError::Aborted)
}

/// Runs `job` on a thread for blocking work.
///
/// # Errors
/// If the job panicked.
pub(crate) async fn run_blocking<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EvidenceError> {
    let finished = tokio::task::spawn_blocking(job).await;
    finished.map_err(|_| EvidenceError::Aborted)
}

/// Sends the data of `source` until its end, its first failure, or until the reader is dropped.
///
/// Chunks are joined into blocks. The Engine sends each line of a log as a chunk, and waking the
/// reader for each of them would take most of the time.
async fn send_all(source: impl Stream<Item = Result<Bytes, String>>, sender: mpsc::Sender<Chunk>) {
    let mut source = std::pin::pin!(source);
    let mut block = BytesMut::new();
    let mut last = None;
    while last.is_none() {
        let next = if block.is_empty() {
            Ok(source.next().await)
        } else {
            tokio::time::timeout(MAX_BLOCK_DELAY, source.next()).await
        };
        let is_delayed = next.is_err();
        match next {
            Ok(Some(Ok(data))) => block.extend_from_slice(&data),
            Ok(Some(Err(cause))) => last = Some(Chunk::Failed(cause)),
            Ok(None) => last = Some(Chunk::End),
            Err(_) => {}
        }
        let is_complete = is_delayed || last.is_some() || block.len() >= BLOCK_BYTES;
        if is_complete && !block.is_empty() {
            let data = Chunk::Data(block.split().freeze());
            if sender.send(data).await.is_err() {
                return;
            }
        }
    }
    if let Some(last) = last {
        // Fails if the reader needs no more data.
        let _ = sender.send(last).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bytes::Bytes;
    use futures_util::{StreamExt, future, stream};

    use super::run_with_source;

    fn read_all(mut reader: impl Read) -> Result<String, String> {
        let mut text = String::new();
        let read = reader.read_to_string(&mut text);
        read.map(|_| text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_job_reads_all_data_or_the_failure_of_its_source() {
        let good = [
            Ok(Bytes::from("a")),
            Ok(Bytes::new()),
            Ok(Bytes::from("bc")),
        ];
        let read = run_with_source(stream::iter(good), read_all).await;
        assert_eq!(read.expect("no panic"), Ok("abc".to_owned()));
        let bad = [Ok(Bytes::from("a")), Err("gone".to_owned())];
        let read = run_with_source(stream::iter(bad), read_all).await;
        assert_eq!(read.expect("no panic"), Err("gone".to_owned()));
    }

    #[tokio::test]
    async fn a_job_that_needs_no_more_data_does_not_wait_for_its_source() {
        let endless = stream::iter([Ok(Bytes::from("a"))])
            .chain(stream::once(future::pending::<Result<Bytes, String>>()));
        let read = run_with_source(endless, |mut reader| {
            let mut byte = [0];
            reader.read_exact(&mut byte).map(|()| byte[0]).ok()
        });
        assert_eq!(read.await.expect("no panic"), Some(b'a'));
    }

    #[tokio::test]
    async fn a_job_whose_source_is_dropped_fails() {
        let (done, ended) = tokio::sync::oneshot::channel();
        let stalled = stream::pending::<Result<Bytes, String>>();
        let job = run_with_source(stalled, |reader| done.send(read_all(reader)));
        assert!(future::poll_immediate(Box::pin(job)).await.is_none());
        let read = ended.await.expect("the job ended");
        assert_eq!(read, Err("the teardown was interrupted".to_owned()));
    }
}
