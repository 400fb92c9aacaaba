//! Operators. An operator repeats a request that gets no reply, and gives up after some attempts,
//! as people do.

use async_nats::{HeaderMap, Message};
use scuttle_schemas::hosts::HostUpdateAccepted;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{PlanTarget, TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, ErrorReplyBody, headers, subjects};
use serde_json::{Value, json};

use crate::simulation::{Simulation, note};
use crate::state::agents::host::AgentHost;
use crate::state::clients::operators::OpenRequest;
use crate::state::connection::{CLIENT_REPLIES, Connection, build_message};
use crate::state::event::Event;

/// The maximum time that an operator waits for a reply before the next attempt.
const REPLY_TIMEOUT_MS: u64 = 2_500;

/// Returns whether a reply is the error `not_leader`, after which the request is sent again.
fn is_not_leader(payload: &[u8]) -> bool {
    serde_json::from_slice::<ErrorReplyBody>(payload)
        .is_ok_and(|body| body.error.code == ErrorCode::NotLeader)
}

impl Simulation {
    pub(crate) fn enroll_all(&mut self) {
        for host in 0..self.agent_hosts.len() {
            self.enroll(host);
        }
    }

    pub(crate) fn enroll(&mut self, host: usize) {
        let agent_host = &self.agent_hosts[host];
        let body = json!({ "name": agent_host.name, "host_uuid": agent_host.id });
        self.request(subjects::HOSTS_ENROLL, body, None, u32::MAX);
    }

    /// Requests a name or an id for a host that is the name or the id of another host, perhaps in
    /// another case. The request is accepted if the other host is decommissioned.
    pub(crate) fn claim_names_of_another_host(&mut self, host: usize) {
        let other = self.choose_host();
        let (own, mut taken) = (
            self.agent_hosts[host].id.clone(),
            self.agent_hosts[other].name.clone(),
        );
        if self.rng.roll_per_mille(500) {
            taken = taken.to_uppercase();
        }
        let (subject, body) = match self.rng.pick_below(3) {
            0 => (
                subjects::HOSTS_ENROLL,
                json!({ "name": taken, "host_uuid": own }),
            ),
            1 => (
                subjects::HOSTS_UPDATE,
                json!({ "name": taken, "host_uuid": own }),
            ),
            _ => (
                subjects::HOSTS_UPDATE,
                json!({ "name": format!("n{other}"), "host_uuid": own }),
            ),
        };
        self.request(subject, body, None, 0);
    }

    pub(crate) fn request(
        &mut self,
        subject: &'static str,
        body: Value,
        key: Option<String>,
        retries_left: u32,
    ) {
        let user = if self.rng.roll_per_mille(800) {
            "alice"
        } else {
            "bob"
        };
        let request = OpenRequest {
            subject,
            body,
            user,
            key,
            retries_left,
        };
        if subject == subjects::TEARDOWN {
            self.operators.teardowns.push(request.clone());
        }
        self.operators.request_count += 1;
        let number = self.operators.request_count;
        self.operators.open.insert(number, request);
        self.send_request(number);
    }

    fn send_request(&mut self, number: u64) {
        let Some(request) = self.operators.open.get(&number).cloned() else {
            return;
        };
        let mut map = HeaderMap::new();
        map.insert(
            headers::REQUEST_INFO,
            json!({ "user": request.user }).to_string().as_str(),
        );
        if let Some(key) = &request.key {
            map.insert(headers::MSG_ID, key.as_str());
        }
        let reply = format!("{CLIENT_REPLIES}.o.{number}");
        let payload = request.body.to_string();
        note!(
            self,
            "request {} {payload} {:?}",
            request.subject,
            request.key
        );
        let request = build_message(request.subject, Some(&reply), Some(map), payload.into());
        self.send(Connection::Operator, &request);
        self.schedule(REPLY_TIMEOUT_MS, Event::OperatorTimeout(number));
    }

    pub(crate) fn operator_times_out(&mut self, number: u64) {
        let Some(request) = self.operators.open.get_mut(&number) else {
            return;
        };
        match request.retries_left.checked_sub(1) {
            Some(retries_left) => {
                request.retries_left = retries_left;
                self.send_request(number);
            }
            None => drop(self.operators.open.remove(&number)),
        }
    }

    pub(crate) fn operator_receives(&mut self, received: &Message) {
        let number = received
            .subject
            .rsplit('.')
            .next()
            .and_then(|number| number.parse().ok());
        let Some(number) = number else { return };
        if received.status.is_some() {
            return;
        }
        if is_not_leader(&received.payload) {
            return;
        }
        let Some(request) = self.operators.open.remove(&number) else {
            return;
        };
        if request.is_reset() {
            let host = request.body["host_uuid"].as_str();
            let is_host = |other: &AgentHost| Some(other.id.as_str()) == host;
            if let Some(host) = self.agent_hosts.iter().position(is_host)
                && serde_json::from_slice::<HostUpdateAccepted>(&received.payload).is_ok()
            {
                self.note_reset(host);
            }
        } else if let Ok(reply) = serde_json::from_slice::<TeardownAccepted>(&received.payload) {
            self.operators.operations.push(reply.operation_id);
            if let Some(plan) = request.body["expect_plan"].as_str()
                && !reply.repeated
            {
                let oracle = self.oracle.for_host(&reply.host_uuid);
                let checked = oracle.check_planned_operation(plan, reply.operation_id);
                self.record_check(checked);
            }
        } else if let Ok(plan) = serde_json::from_slice::<TeardownPlan>(&received.payload) {
            self.use_plan(&request, plan);
        }
    }

    /// Remembers the plan of a host for a later teardown. Tears down a single decky immediately if
    /// its last teardown failed, as `scuttle retry` does.
    fn use_plan(&mut self, request: &OpenRequest, plan: TeardownPlan) {
        let Some(host) = (request.body["host_uuid"].as_str())
            .and_then(|host| self.agent_hosts.iter().position(|other| other.name == host))
        else {
            return;
        };
        let id = self.agent_hosts[host].id.clone();
        self.oracle.for_host_mut(&id).note_plan(&plan);
        if request.body["decky_id"].is_null() {
            self.operators.dry_run = Some((host, plan.plan));
            return;
        }
        let failed = |target: &PlanTarget| target.state == ShardState::TeardownFailed;
        if let Some(target) = plan.targets.into_iter().find(failed) {
            let timeout = self.rng.pick_between(1, self.plan.max_timeout_s);
            let body = json!({
                "host_uuid": id, "decky_id": target.decky_id, "timeout_s": timeout, "expect_plan": plan.plan,
            });
            self.request(subjects::TEARDOWN, body, None, 2);
        }
    }
}
