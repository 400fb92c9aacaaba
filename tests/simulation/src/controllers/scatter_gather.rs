//! Lists of the whole swarm. The controller's own scatter-gather is async, so it is simulated here:
//! the first partition's leader requests a page from its own partition, then from the leaders of
//! the other partitions, and merges the pages. If a leader rejects the request or does not reply,
//! the list fails.

use async_nats::{Message, StatusCode};
use scuttle_controller::leadership::term::StopReason;
use scuttle_core::Reply;
use scuttle_schemas::{ErrorReply, ErrorReplyBody, Partition, headers, subjects};

use crate::simulation::{Simulation, note};
use crate::state::connection::{Connection, build_message};
use crate::state::controllers::scatter_gather::{ScatterGather, partition_unavailable};
use crate::state::event::Event;

/// The maximum time that a leader waits for the pages that it requested.
pub(crate) const PAGE_TIMEOUT_MS: u64 = 2_000;

impl Simulation {
    pub(crate) fn start_gather(&mut self, controller: usize, gather: ScatterGather) {
        let Some(term) = self.controllers[controller].leader_term() else {
            return;
        };
        let number = term.gather_count;
        term.gather_count += 1;
        term.scatter_gathers.insert(number, gather);
        // The first partition's page comes first. Then everything that the other pages do not
        // contain yet is relayed later, under a higher revision than that page has.
        self.request_pages(controller, number, vec![Partition::FIRST]);
    }

    fn request_pages(&mut self, controller: usize, number: u64, partitions: Vec<Partition>) {
        let run = self.controllers[controller].run_number;
        let term = self.controllers[controller].leader_term();
        let Some(gather) = term.and_then(|term| term.scatter_gathers.get_mut(&number)) else {
            return;
        };
        gather.requested.extend(&partitions);
        let (requested, payload) = (gather.requested.len(), gather.payload.clone());
        let subject = gather.endpoint.subject();
        for partition in partitions {
            let (subject, inbox) = (
                subjects::partition_request_subject(partition, &subject),
                format!(
                    "{}.c{controller}.{run}.{number}.{partition}",
                    subjects::CONTROLLER_INBOX_PREFIX
                ),
            );
            let request = build_message(&subject, Some(&inbox), None, payload.clone());
            self.send(Connection::Controller(controller), &request);
        }
        self.schedule(
            PAGE_TIMEOUT_MS,
            Event::GatherTimeout {
                controller,
                run,
                gather: number,
                requested,
            },
        );
    }

    /// Handles a timeout that was set when `requested` pages had been requested. Fails the list if
    /// no further page has been requested since then.
    pub(crate) fn gather_times_out(
        &mut self,
        controller: usize,
        run: u64,
        number: u64,
        requested: usize,
    ) {
        let process = self.controllers[controller].process_of_run(run);
        let term = process.and_then(|process| process.term.as_ref());
        let gather = term.and_then(|term| term.scatter_gathers.get(&number));
        if gather.is_some_and(|gather| gather.requested.len() == requested) {
            self.finish_gather(controller, number, Err(partition_unavailable()));
        }
    }

    /// Handles the reply of a partition's leader.
    pub(crate) fn gather_receives(&mut self, controller: usize, received: &Message) {
        let mut tokens = received.subject.split('.').skip(2);
        let mut token = || tokens.next()?.parse::<u64>().ok();
        let (Some(run), Some(number), Some(partition)) = (token(), token(), token()) else {
            return;
        };
        let partitions = self.partitioning.count;
        let Some(partition) = partitions.iter().nth(partition as usize) else {
            return;
        };
        let process = self.controllers[controller].process_of_run(run);
        let term = process.and_then(|process| process.term.as_mut());
        let Some(gather) = term.and_then(|term| term.scatter_gathers.get_mut(&number)) else {
            return;
        };
        let rejected = (received.headers.as_ref())
            .is_some_and(|headers| headers.get(headers::SERVICE_ERROR_CODE).is_some());
        if rejected || received.status == Some(StatusCode::NO_RESPONDERS) {
            let body = serde_json::from_slice::<ErrorReplyBody>(&received.payload);
            let refusal = body.map_or_else(|_| partition_unavailable(), |body| body.error);
            self.finish_gather(controller, number, Err(refusal));
            return;
        }
        // If two controllers believe that they lead, the first reply counts.
        let page = gather.pages.entry(partition);
        page.or_insert_with(|| received.payload.clone());
        if !gather.is_complete() {
            return;
        }
        let only = gather
            .host_filter()
            .map(|host| partitions.partition_of_host(host));
        let others = partitions.iter().skip(1);
        let others = others.filter(|other| only.is_none_or(|only| only == *other));
        let remaining: Vec<_> = others
            .filter(|other| !gather.requested.contains(other))
            .collect();
        if remaining.is_empty() {
            let merged = gather.merge();
            let pages = gather.revisions();
            if let Some((subject, pages)) = gather.listed_type().zip(pages) {
                let checked = self.oracle.check_gathered_list(subject, &pages);
                self.record_check(checked);
            }
            self.finish_gather(controller, number, merged);
        } else {
            self.request_pages(controller, number, remaining);
        }
    }

    fn finish_gather(&mut self, controller: usize, number: u64, merged: Result<Reply, ErrorReply>) {
        let holds_lease = self.holds_lease(controller);
        let term = self.controllers[controller].leader_term();
        let Some(gather) = term.and_then(|term| term.scatter_gathers.remove(&number)) else {
            return;
        };
        let merged = if holds_lease {
            merged
        } else {
            Err(StopReason::SteppedDown.error_reply())
        };
        if let Err(refusal) = &merged {
            note!(self, "list failed: {}", refusal.message);
        }
        let reply = merged.unwrap_or_else(Reply::Rejected);
        self.send_reply(controller, &gather.requester, &reply);
    }
}
