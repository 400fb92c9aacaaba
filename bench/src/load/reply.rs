//! Checks replies. Each reply is searched for a few words, so that the check costs the generator
//! the same for all compared services.

use anyhow::{Result, ensure};
use async_nats::Message;

use crate::load::spec::RequestKind;

impl RequestKind {
    /// Returns the texts that a reply must contain.
    fn expected_texts(self) -> &'static [&'static str] {
        match self {
            Self::Echo => &["{\"", "\"host_uuid\":"],
            Self::Publish | Self::PublishBytes(_) => &["{\"stream\":", "\"seq\":"],
            Self::Accept | Self::Teardown => &["{\"accepted\":true", "\"repeated\":false"],
            Self::UnknownDecky => &["{\"accepted\":false", "\"code\":\"shard_not_found\""],
            Self::ListPage(_) => &["{\"revision\":", "\"shards\":[{"],
            Self::Heartbeat { .. } => &["{\"accepted\":true", "\"stale\":false"],
        }
    }

    /// Returns an error unless the reply is the expected one for the request.
    pub(super) fn check(self, reply: &Message) -> Result<()> {
        let text = std::str::from_utf8(&reply.payload)?;
        let is_expected = self.expected_texts().iter().all(|part| text.contains(part));
        ensure!(
            is_expected && reply.status.is_none(),
            "unexpected reply with status {:?}: {text}",
            reply.status
        );
        Ok(())
    }
}
