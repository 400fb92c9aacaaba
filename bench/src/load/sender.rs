//! Builds the requests of a load before it begins, and sends them.
//!
//! The schedule of the requests is in schedule.rs.

use anyhow::{Context, Result, bail};
use async_nats::{Client, Subject};
use bytes::Bytes;
use scuttle_schemas::HostId;
use scuttle_schemas::subjects::AgentChannel;
use serde_json::json;

use crate::load::removals::Removals;
use crate::load::spec::{LoadSpec, Pace, RequestKind, heartbeat, host_id, teardown_request};

/// The maximum number of teardown requests that are built for one load. No service accepts more
/// teardowns than this during a load.
const MAX_REQUESTS: usize = 500_000;

/// The number of heartbeats to prepare per second of a closed loop. Two cores cannot handle more.
const MAX_HEARTBEATS_PER_SECOND: u32 = 60_000;

pub(super) struct Sender {
    client: Client,
    kind: RequestKind,
    requests: Vec<(Subject, Bytes)>,
    removals: Option<Removals>,
}

impl Sender {
    /// Builds all requests of a load, because this work must not be part of the measurement. For a
    /// load of teardowns, also subscribes to the broadcasts.
    pub(super) async fn prepare(spec: &LoadSpec, client: &Client) -> Result<Self> {
        let subject = Subject::from(spec.subject.as_str());
        let (mut requests, mut deckies) = (Vec::new(), Vec::new());
        if let RequestKind::Heartbeat { .. } = spec.kind {
            requests = Self::heartbeats(spec)?;
        } else if let RequestKind::PublishBytes(bytes) = spec.kind {
            requests.push((subject, vec![b'x'; bytes].into()));
        } else if let RequestKind::ListPage(limit) = spec.kind {
            requests.push((subject, json!({ "limit": limit }).to_string().into()));
        } else if spec.kind == RequestKind::UnknownDecky {
            let hosts = spec.targets.host_numbers(&spec.only).into_iter();
            let request = |host| {
                let payload = teardown_request(&host_id(host), "nowhere");
                (subject.clone(), payload)
            };
            requests.extend(hosts.map(request));
        } else {
            for (host, decky) in spec.targets.iter(&spec.only).take(MAX_REQUESTS) {
                requests.push((subject.clone(), teardown_request(&host, &decky)));
                if spec.kind == RequestKind::Teardown {
                    deckies.push((host, decky));
                }
            }
        }
        let removals = match spec.kind {
            RequestKind::Teardown => Some(Removals::watch(client, deckies).await?),
            _ => None,
        };
        Ok(Self {
            client: client.clone(),
            kind: spec.kind,
            requests,
            removals,
        })
    }

    /// Returns the heartbeats for the duration of the load. The heartbeats of each host are sorted
    /// by sequence number.
    fn heartbeats(spec: &LoadSpec) -> Result<Vec<(Subject, Bytes)>> {
        let RequestKind::Heartbeat { boot, sequence } = spec.kind else {
            bail!("{:?} is not a heartbeat", spec.kind);
        };
        let rate = match spec.pace {
            Pace::PerSecond(rate) => rate,
            Pace::InFlight(_) => MAX_HEARTBEATS_PER_SECOND,
        };
        let hosts = spec.targets.host_numbers(&spec.only).into_iter();
        let hosts: Vec<HostId> = hosts.map(host_id).collect();
        let count = usize::try_from(u64::from(rate) * spec.millis / 1000)?;
        let all = (sequence..).flat_map(|sequence| hosts.iter().map(move |host| (host, sequence)));
        all.take(count)
            .map(|(host, sequence)| {
                let payload = serde_json::to_vec(&heartbeat(host, boot, sequence))?;
                Ok((AgentChannel::Heartbeat.subject(host).into(), payload.into()))
            })
            .collect()
    }

    /// Returns whether a request can be sent under this number. Requests that a service accepts
    /// repeatedly are reused, so any number is valid for them.
    pub(super) fn has_request(&self, number: usize) -> bool {
        number < self.requests.len()
            || matches!(
                self.kind,
                RequestKind::Echo
                    | RequestKind::Publish
                    | RequestKind::PublishBytes(_)
                    | RequestKind::UnknownDecky
                    | RequestKind::ListPage(_)
            )
    }

    /// Sends a request, and waits for its reply and, for a teardown, for the broadcast of the
    /// removal.
    pub(super) async fn send(&self, number: usize) -> Result<()> {
        let number = number % self.requests.len();
        let removal = self.removals.as_ref().map(|all| all.expect(number));
        let (subject, payload) = self.requests[number].clone();
        let reply = self.client.request(subject, payload).await?;
        self.kind.check(&reply)?;
        match removal {
            Some(removal) => removal.await.context("the removal is not broadcast"),
            None => Ok(()),
        }
    }
}
