//! Which answer counts. The same few words are looked for in each, so that what is compared costs the generator the same.

use anyhow::{Result, ensure};
use async_nats::Message;

use super::What;

impl What {
    /// What its answer must have.
    fn words(self) -> &'static [&'static str] {
        match self {
            What::Echo => &["{\"", "\"host_uuid\":"],
            What::Stored | What::Written(_) => &["{\"stream\":", "\"seq\":"],
            What::Accepted | What::Removed => &["{\"accepted\":true", "\"repeated\":false"],
            What::Unknown => &["{\"accepted\":false", "\"code\":\"shard_not_found\""],
            What::Listed(_) => &["{\"revision\":", "\"shards\":[{"],
            What::Heard { .. } => &["{\"accepted\":true", "\"stale\":false"],
        }
    }

    /// Fails with an answer that must not be counted.
    pub(super) fn check(self, answer: &Message) -> Result<()> {
        let text = std::str::from_utf8(&answer.payload)?;
        let counts = self.words().iter().all(|words| text.contains(words));
        ensure!(
            counts && answer.status.is_none(),
            "answered with status {:?}: {text}",
            answer.status
        );
        Ok(())
    }
}
