//! Operators and whoever deploys deckies: the work of a seed. A request is repeated while it is
//! not answered, and given up after some tries, as people do.

use std::collections::BTreeMap;

use async_nats::{HeaderMap, Message};
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{ErrorCode, OperationId, RefusalBody, headers, subjects};
use serde_json::{Value, json};

use crate::network::{Link, inbox, message};
use crate::plan::Work;
use crate::world::{Event, World, note};

/// How long an operator waits for an answer, in milliseconds.
const PATIENCE_MS: u64 = 2_500;

/// A request of an operator.
#[derive(Debug, Clone)]
struct Request {
    subject: &'static str,
    body: Value,
    user: &'static str,
    key: Option<String>,
    tries: u32,
}

/// All operators together.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    requests: u64,
    waiting: BTreeMap<u64, Request>,
    /// Teardowns that were asked for.
    asked: Vec<Request>,
    operations: Vec<OperationId>,
    plan: Option<(usize, String)>,
}

/// Whether an answer is none: another controller has it.
fn asks_again(payload: &[u8]) -> bool {
    serde_json::from_slice::<RefusalBody>(payload)
        .is_ok_and(|body| body.error.code == ErrorCode::NotLeader)
}

impl World {
    pub(crate) fn enroll_all(&mut self) {
        for host in 0..self.workers.len() {
            self.enroll(host);
        }
    }

    fn enroll(&mut self, host: usize) {
        let worker = &self.workers[host];
        let body = json!({ "name": worker.name, "host_uuid": worker.host });
        self.ask(subjects::HOSTS_ENROLL, body, None, u32::MAX);
    }

    fn ask(&mut self, subject: &'static str, body: Value, key: Option<String>, tries: u32) {
        let user = if self.chance.happens(800) {
            "alice"
        } else {
            "bob"
        };
        let request = Request {
            subject,
            body,
            user,
            key,
            tries,
        };
        if subject == subjects::TEARDOWN {
            self.operators.asked.push(request.clone());
        }
        self.operators.requests += 1;
        let number = self.operators.requests;
        self.operators.waiting.insert(number, request);
        self.operator_sends(number);
    }

    fn operator_sends(&mut self, number: u64) {
        let Some(request) = self.operators.waiting.get(&number).cloned() else {
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
        let reply = format!("{}.{number}", inbox(Link::Operator));
        let payload = request.body.to_string();
        note!(
            self,
            "ask     {} {payload} {:?}",
            request.subject,
            request.key
        );
        let request = message(request.subject, Some(&reply), Some(map), payload.into());
        self.send(Link::Operator, &request);
        self.after(PATIENCE_MS, Event::OperatorWaits(number));
    }

    pub(crate) fn operator_waits(&mut self, number: u64) {
        let Some(request) = self.operators.waiting.get_mut(&number) else {
            return;
        };
        match request.tries.checked_sub(1) {
            Some(left) => {
                request.tries = left;
                self.operator_sends(number);
            }
            None => drop(self.operators.waiting.remove(&number)),
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
        if asks_again(&received.payload) {
            return;
        }
        let Some(request) = self.operators.waiting.remove(&number) else {
            return;
        };
        if let Ok(answer) = serde_json::from_slice::<TeardownAccepted>(&received.payload) {
            self.operators.operations.push(answer.operation_id);
        } else if let Ok(answer) = serde_json::from_slice::<Value>(&received.payload)
            && let Some(plan) = answer["plan"].as_str()
            && let Some(host) = request.body["host_uuid"].as_str()
        {
            let host = self.workers.iter().position(|worker| worker.name == host);
            self.operators.plan = host.map(|host| (host, plan.to_owned()));
        }
    }

    pub(crate) fn some_host(&mut self) -> usize {
        self.chance.below(self.plan.hosts) as usize
    }

    pub(crate) fn work(&mut self) {
        if self.healed {
            return;
        }
        let work = self.chance.pick(&self.plan.work).copied();
        let host = self.some_host();
        let decky = self
            .chance
            .pick(self.workers[host].deckies.names())
            .cloned();
        if let (Some(work), Some(decky)) = (work, decky) {
            self.do_work(work, host, &decky);
        }
        let wait = self.chance.within(1, self.plan.work_gap_ms);
        self.after(wait, Event::Work);
    }

    fn do_work(&mut self, work: Work, host: usize, decky: &scuttle_schemas::DeckyId) {
        let id = self.workers[host].host.clone();
        let timeout = self.chance.within(1, self.plan.longest_timeout_s);
        let key = (self.chance.happens(400)).then(|| format!("k{}", self.operators.requests));
        let tries = self.chance.below(4) as u32;
        match work {
            Work::TearDownDecky => {
                let body = json!({ "host_uuid": id, "decky_id": decky, "timeout_s": timeout });
                self.ask(subjects::TEARDOWN, body, key, tries);
            }
            Work::TearDownHost => {
                let mut body = json!({ "host_uuid": id, "timeout_s": timeout });
                if let Some((planned, plan)) = self.operators.plan.take()
                    && planned == host
                {
                    body["expect_plan"] = plan.into();
                }
                self.ask(subjects::TEARDOWN, body, key, tries);
            }
            Work::Repeat => {
                if let Some(request) = self.chance.pick(&self.operators.asked).cloned() {
                    self.ask(request.subject, request.body, request.key, tries);
                }
            }
            Work::Cancel => {
                let recent = self.operators.operations.len().saturating_sub(4);
                if let Some(id) = self
                    .chance
                    .pick(&self.operators.operations[recent..])
                    .copied()
                {
                    let body = json!({ "operation_id": id });
                    self.ask(subjects::OPERATIONS_CANCEL, body, None, tries);
                }
            }
            Work::Plan => {
                let body = json!({ "host_uuid": id, "dry_run": true });
                self.ask(subjects::TEARDOWN, body, key, 0);
            }
            Work::Decommission => {
                if self.chance.happens(500) {
                    let force = self.chance.happens(700);
                    let body = json!({ "host_uuid": id, "force": force });
                    self.ask(subjects::HOSTS_DECOMMISSION, body, None, tries);
                } else {
                    self.enroll(host);
                }
            }
            Work::Deploy => self.deploy(host, decky),
            Work::Redeploy => {
                for name in self.workers[host].deckies.names().to_vec() {
                    if self.chance.happens(600) {
                        self.deploy(host, &name);
                    }
                }
            }
            Work::ChangeState => self.change_state(host, decky),
            Work::Look => {
                self.ask(subjects::OPERATIONS_LIST, json!({ "limit": 3 }), None, 0);
                self.ask(subjects::SHARDS_LIST, json!({ "limit": 3 }), None, 0);
            }
        }
    }
}
