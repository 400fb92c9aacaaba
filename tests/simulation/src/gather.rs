//! Lists of the whole swarm, as the controller's `gather` makes them, which is async: the first partition's leader asks that of its
//! own partition for a page, then those of the others, and merges. Where one refuses or does not answer there is no list.

use std::collections::BTreeMap;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use scuttle_controller::leadership::term::StopReason;
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_core::{Input, Reply, merge_hosts, merge_operations, merge_shards};
use scuttle_schemas::{ErrorCode, HostId, Partition, Refusal, RefusalBody, headers, subjects};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::network::{Link, message};
use crate::subscribers::SUBJECTS;
use crate::term::Asker;
use crate::world::{Event, World, note};

/// How long a leader is waited for, in milliseconds.
const PATIENCE_MS: u64 = 2_000;

/// A list that is being gathered.
pub(crate) struct Gathering {
    pub(crate) asker: Asker,
    endpoint: Endpoint,
    input: Input,
    payload: Bytes,
    /// Those that were asked.
    asked: Vec<Partition>,
    pages: BTreeMap<Partition, Bytes>,
}

impl Gathering {
    fn is_whole(&self) -> bool {
        self.pages.len() == self.asked.len()
    }

    /// The host that it is about alone.
    fn only(&self) -> Option<&HostId> {
        match &self.input {
            Input::ShardsList(request) => request.host_uuid.as_ref(),
            Input::HostsList(request) => request.host_uuid.as_ref(),
            Input::OperationsList(request) => request.host_uuid.as_ref(),
            _ => None,
        }
    }

    /// Which of the broadcast subjects its records are told on.
    fn subject(&self) -> Option<usize> {
        let endpoint = self.endpoint.subject();
        SUBJECTS.iter().position(|subject| subject.1 == endpoint)
    }

    /// The revision of each page.
    fn revisions(&self) -> Option<BTreeMap<Partition, u64>> {
        let pages = self.pages.iter().map(|(partition, page)| {
            let page: Revised = serde_json::from_slice(page).ok()?;
            Some((*partition, page.revision))
        });
        pages.collect()
    }

    fn merged(&self) -> Result<Reply, Refusal> {
        match &self.input {
            Input::ShardsList(request) => {
                merge_shards(pages(&self.pages)?, request.limit.get()).map(Reply::Shards)
            }
            Input::HostsList(request) => {
                merge_hosts(pages(&self.pages)?, request.limit.get()).map(Reply::Hosts)
            }
            Input::OperationsList(request) => {
                merge_operations(pages(&self.pages)?, request.limit.get()).map(Reply::Operations)
            }
            _ => Err(away()),
        }
    }
}

/// A page, of which nothing else is read.
#[derive(Deserialize)]
struct Revised {
    revision: u64,
}

fn pages<T: DeserializeOwned>(pages: &BTreeMap<Partition, Bytes>) -> Result<Vec<T>, Refusal> {
    let read = |page: &Bytes| serde_json::from_slice(page).map_err(|_| away());
    pages.values().map(read).collect()
}

fn away() -> Refusal {
    Refusal::new(ErrorCode::NotLeader, "a partition does not answer")
}

impl World {
    pub(crate) fn gather(
        &mut self,
        controller: usize,
        endpoint: Endpoint,
        (asker, input): (Asker, Input),
        request: &Message,
    ) {
        let Some(term) = self.controllers[controller].term() else {
            return;
        };
        let number = term.gathered;
        term.gathered += 1;
        let gathering = Gathering {
            asker,
            endpoint,
            input,
            payload: request.payload.clone(),
            asked: Vec::new(),
            pages: BTreeMap::new(),
        };
        term.gatherings.insert(number, gathering);
        // What the others do not contain yet is told under a higher revision than the page of the first has.
        self.ask_partitions(controller, number, vec![Partition::FIRST]);
    }

    fn ask_partitions(&mut self, controller: usize, number: u64, partitions: Vec<Partition>) {
        let run = self.controllers[controller].runs;
        let term = self.controllers[controller].term();
        let Some(gathering) = term.and_then(|term| term.gatherings.get_mut(&number)) else {
            return;
        };
        gathering.asked.extend(&partitions);
        let (asked, payload) = (gathering.asked.len(), gathering.payload.clone());
        let subject = gathering.endpoint.subject();
        for partition in partitions {
            let (subject, inbox) = (
                subjects::asked(partition, &subject),
                format!(
                    "{}.c{controller}.{run}.{number}.{partition}",
                    subjects::CONTROLLER_INBOX
                ),
            );
            let request = message(&subject, Some(&inbox), None, payload.clone());
            self.send(Link::Controller(controller), &request);
        }
        self.after(
            PATIENCE_MS,
            Event::GatherWaits(controller, run, number, asked),
        );
    }

    /// Nobody waits longer for those that were asked by then.
    pub(crate) fn gather_waits(&mut self, controller: usize, run: u64, number: u64, asked: usize) {
        let process = self.controllers[controller].run(run);
        let term = process.and_then(|process| process.term.as_ref());
        let gathering = term.and_then(|term| term.gatherings.get(&number));
        if gathering.is_some_and(|gathering| gathering.asked.len() == asked) {
            self.end_gathering(controller, number, Err(away()));
        }
    }

    /// The answer of a partition's leader.
    pub(crate) fn gather_receives(&mut self, controller: usize, received: &Message) {
        let mut tokens = received.subject.split('.').skip(2);
        let mut token = || tokens.next()?.parse::<u64>().ok();
        let (Some(run), Some(number), Some(partition)) = (token(), token(), token()) else {
            return;
        };
        let of = self.divided.of;
        let Some(partition) = of.all().nth(partition as usize) else {
            return;
        };
        let process = self.controllers[controller].run(run);
        let term = process.and_then(|process| process.term.as_mut());
        let Some(gathering) = term.and_then(|term| term.gatherings.get_mut(&number)) else {
            return;
        };
        let refused = (received.headers.as_ref())
            .is_some_and(|headers| headers.get(headers::SERVICE_ERROR_CODE).is_some());
        if refused || received.status == Some(StatusCode::NO_RESPONDERS) {
            let body = serde_json::from_slice::<RefusalBody>(&received.payload);
            let refusal = body.map_or_else(|_| away(), |body| body.error);
            self.end_gathering(controller, number, Err(refusal));
            return;
        }
        // Of two that both believe to lead, the first that answers counts.
        let page = gathering.pages.entry(partition);
        page.or_insert_with(|| received.payload.clone());
        if !gathering.is_whole() {
            return;
        }
        let only = gathering.only().map(|host| of.of_host(host));
        let others = of.all().skip(1);
        let others = others.filter(|other| only.is_none_or(|only| only == *other));
        let left: Vec<_> = others
            .filter(|other| !gathering.asked.contains(other))
            .collect();
        if left.is_empty() {
            let merged = gathering.merged();
            let pages = gathering.revisions();
            if let Some((subject, pages)) = gathering.subject().zip(pages) {
                let checked = self.oracle.gathered(subject, &pages);
                self.check(checked);
            }
            self.end_gathering(controller, number, merged);
        } else {
            self.ask_partitions(controller, number, left);
        }
    }

    fn end_gathering(&mut self, controller: usize, number: u64, merged: Result<Reply, Refusal>) {
        let holds = self.holds_lease(controller);
        let term = self.controllers[controller].term();
        let Some(gathering) = term.and_then(|term| term.gatherings.remove(&number)) else {
            return;
        };
        let merged = if holds {
            merged
        } else {
            Err(StopReason::SteppedDown.refusal())
        };
        if let Err(refusal) = &merged {
            note!(self, "no list: {}", refusal.message);
        }
        let reply = merged.unwrap_or_else(Reply::Refused);
        self.answer(controller, &gathering.asker, &reply);
    }
}
