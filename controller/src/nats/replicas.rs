//! The number of servers that keep a copy of a stream: compares it with the configured number, and
//! changes it for an operator. A controller creates streams with the configured number and never
//! changes them.

use async_nats::jetstream::Context;

use crate::nats::stream_lookup::find_stream;

/// A stream or bucket whose number of replicas differs from --replicas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream {stream} has {found} replicas, but --replicas is {configured}")]
pub struct ReplicaDifference {
    pub stream: String,
    pub found: usize,
    pub configured: usize,
}

/// Returns the streams that have another number of replicas than `configured`. Skips streams that
/// do not exist or whose state cannot be read.
pub async fn find_differences(
    context: &Context,
    streams: &[String],
    configured: usize,
) -> Vec<ReplicaDifference> {
    let mut differences = Vec::new();
    for stream in streams {
        if let Ok(Some(stream)) = find_stream(context, stream).await {
            let config = &stream.cached_info().config;
            if config.num_replicas != configured {
                differences.push(ReplicaDifference {
                    stream: config.name.clone(),
                    found: config.num_replicas,
                    configured,
                });
            }
        }
    }
    differences
}
