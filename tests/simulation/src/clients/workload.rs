//! The work that keeps the swarm busy during a run: the requests of operators, and the deployments
//! and state changes of deckies.

use scuttle_schemas::{DeckyId, subjects};
use serde_json::{Value, json};

use crate::seed::plan::Work;
use crate::simulation::Simulation;
use crate::state::event::Event;

impl Simulation {
    pub(crate) fn choose_host(&mut self) -> usize {
        self.rng.pick_below(self.plan.hosts) as usize
    }

    pub(crate) fn do_some_work(&mut self) {
        if self.faults_stopped {
            return;
        }
        let work = self.rng.choose(&self.plan.work).copied();
        let host = self.choose_host();
        let decky = self
            .rng
            .choose(self.agent_hosts[host].deckies.names())
            .cloned();
        if let (Some(work), Some(decky)) = (work, decky) {
            self.do_work(work, host, &decky);
        }
        let delay_ms = self.rng.pick_between(1, self.plan.max_work_gap_ms);
        self.schedule(delay_ms, Event::Work);
    }

    /// Adds `override_protection` to some teardown requests.
    fn choose_override(&mut self, body: &mut Value) {
        if self.rng.roll_per_mille(self.plan.override_rate) {
            body["override_protection"] = true.into();
        }
    }

    fn do_work(&mut self, work: Work, host: usize, decky: &DeckyId) {
        let id = self.agent_hosts[host].id.clone();
        let timeout = self.rng.pick_between(1, self.plan.max_timeout_s);
        let key =
            (self.rng.roll_per_mille(400)).then(|| format!("k{}", self.operators.request_count));
        let retries = self.rng.pick_below(4) as u32;
        match work {
            Work::TearDownDecky => {
                let mut body = json!({ "host_uuid": id, "decky_id": decky, "timeout_s": timeout });
                self.choose_override(&mut body);
                self.request(subjects::TEARDOWN, body, key, retries);
            }
            Work::TearDownHost => {
                let mut body = json!({ "host_uuid": id, "timeout_s": timeout });
                if let Some((planned, plan)) = self.operators.dry_run.take()
                    && planned == host
                {
                    body["expect_plan"] = plan.into();
                }
                self.choose_override(&mut body);
                self.request(subjects::TEARDOWN, body, key, retries);
            }
            Work::Repeat => {
                if let Some(request) = self.rng.choose(&self.operators.teardowns).cloned() {
                    self.request(request.subject, request.body, request.key, retries);
                }
            }
            Work::Cancel => {
                let recent = self.operators.operations.len().saturating_sub(4);
                if let Some(id) = self
                    .rng
                    .choose(&self.operators.operations[recent..])
                    .copied()
                {
                    let body = json!({ "operation_id": id });
                    self.request(subjects::OPERATIONS_CANCEL, body, None, retries);
                }
            }
            Work::DryRun => {
                let body = json!({ "host_uuid": id, "dry_run": true });
                self.request(subjects::TEARDOWN, body, key, 0);
            }
            Work::Decommission => {
                if self.rng.roll_per_mille(500) {
                    let force = self.rng.roll_per_mille(700);
                    let body = json!({ "host_uuid": id, "force": force });
                    self.request(subjects::HOSTS_DECOMMISSION, body, None, retries);
                } else if self.rng.roll_per_mille(300) {
                    self.claim_names_of_another_host(host);
                } else {
                    self.enroll(host);
                }
            }
            Work::Deploy => self.deploy(host, decky),
            Work::Redeploy => {
                for name in self.agent_hosts[host].deckies.names().to_vec() {
                    if self.rng.roll_per_mille(600) {
                        self.deploy(host, &name);
                    }
                }
            }
            Work::Recreate => self.recreate(host, decky),
            // The reply is the plan, and the teardown follows if the decky has failed.
            Work::Retry => {
                let body = json!({ "host_uuid": id, "decky_id": decky, "dry_run": true });
                self.request(subjects::TEARDOWN, body, None, 0);
            }
            Work::Protect => {
                let protected = self.rng.roll_per_mille(600);
                let mut body = json!({ "host_uuid": id, "protected": protected });
                if self.rng.roll_per_mille(700) {
                    body["decky_id"] = decky.as_str().into();
                }
                self.request(subjects::SHARDS_PROTECT, body, None, retries);
            }
            Work::ForgeReport => self.forge_report(host),
            Work::ChangeState => self.change_state(host, decky),
            Work::List => {
                self.request(subjects::OPERATIONS_LIST, json!({ "limit": 3 }), None, 0);
                self.request(subjects::SHARDS_LIST, json!({ "limit": 3 }), None, 0);
            }
        }
    }
}
