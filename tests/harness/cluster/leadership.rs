//! Finds the leaders among a cluster's controllers, and waits until leadership is settled.

use anyhow::{Result, bail};
use async_nats::HeaderMap;
use scuttle_schemas::HostId;
use scuttle_schemas::subjects::{self, AgentChannel};

use super::Cluster;
use crate::clients::client::Client;
use crate::http::Http;
use crate::roles::Role;
use crate::wait::wait_until;

impl Cluster {
    /// Waits until the controllers are ready: each partition has a leader, and the operator gets
    /// replies.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        if self.options.partitions.is_some() {
            self.wait_until_partitions_are_led().await
        } else if self.has_shared_journal() {
            self.wait_for_leader().await.map(drop)
        } else {
            self.operator.wait_until_ready().await
        }
    }

    /// Waits until one controller leads and all others follow. Returns the number of the leader.
    pub async fn wait_for_leader(&mut self) -> Result<usize> {
        let all: Vec<_> = (0..self.controllers.len()).collect();
        self.wait_for_leader_among(&all).await
    }

    /// Waits until one of the controllers other than `number` leads, and the rest of them follow.
    /// Returns the number of the leader.
    pub async fn wait_for_leader_other_than(&mut self, number: usize) -> Result<usize> {
        let others = (0..self.controllers.len()).filter(|other| *other != number);
        let others: Vec<_> = others.collect();
        self.wait_for_leader_among(&others).await
    }

    /// Waits until one of these controllers leads, the others in `numbers` follow, and each server
    /// delivers reports to the leader. Returns the number of the leader.
    pub async fn wait_for_leader_among(&mut self, numbers: &[usize]) -> Result<usize> {
        let mut endpoints = Vec::new();
        for number in numbers {
            endpoints.push((*number, self.controllers[*number].http().await?));
        }
        let leader = wait_until(
            "one controller leads, and the others follow",
            || find_leader(&endpoints),
            |_| true,
        )
        .await?;
        self.wait_until_subscribed().await?;
        Ok(leader)
    }

    /// Waits until each server delivers all kinds of requests and reports to the leader. Each of
    /// these messages is invalid, and is rejected.
    pub async fn wait_until_subscribed(&self) -> Result<()> {
        for server in &self.servers {
            let host: HostId = "not-enrolled".parse()?;
            let options = server.connect_options(Role::Agents);
            let options = options.custom_inbox_prefix(subjects::agent_inbox_prefix(&host));
            let agents = Client::connect_with(options, &server.url()).await?;
            let operator = Client::connect(server, Role::Operator).await?;
            // The leader subscribes on one connection for each group of senders, and on each of
            // them to all subjects at once.
            let results = AgentChannel::Results.subject(&host);
            for (client, subject) in [
                (&agents, results.as_str()),
                (&operator, subjects::TEARDOWN),
                (&operator, subjects::HOSTS_LIST),
            ] {
                let request = || client.request_raw(subject, HeaderMap::new(), "{}");
                wait_until("the server knows the leader", request, |_| true).await?;
            }
        }
        Ok(())
    }

    /// Waits until the leaders of all partitions reply to the operator.
    pub async fn wait_until_partitions_are_led(&self) -> Result<()> {
        // The list is complete only with the replies of all leaders.
        let list = || self.operator.list_shards();
        wait_until("each partition has a leader", list, |_| true).await?;
        Ok(())
    }

    /// Waits until each partition has a leader, and each controller leads as many partitions as
    /// `counts` says. The counts are in the order of the controllers.
    pub async fn wait_until_balanced(&mut self, counts: &[f64]) -> Result<()> {
        let mut endpoints = Vec::new();
        for controller in &mut self.controllers {
            endpoints.push(controller.http().await?);
        }
        let count_led = || async {
            let mut led = Vec::new();
            for http in &endpoints {
                led.push(http.scrape().await?.value("scuttle_partitions_led")?);
            }
            anyhow::Ok(led)
        };
        wait_until("the partitions are balanced", count_led, |led| {
            led == counts
        })
        .await?;
        self.wait_until_partitions_are_led().await
    }
}

/// Finds the leader among the controllers with these numbers and HTTP endpoints.
///
/// # Errors
/// If a controller does not respond, or neither leads nor follows, or if the number of leaders is
/// not one.
async fn find_leader(endpoints: &[(usize, Http)]) -> Result<usize> {
    let mut leaders = Vec::new();
    for (number, http) in endpoints {
        match http.get("/readyz").await?.trim_end() {
            "ready: leading" => leaders.push(*number),
            "ready: following" => {}
            other => bail!("controller {number} reports {other}"),
        }
    }
    match *leaders {
        [leader] => Ok(leader),
        _ => bail!("{leaders:?} lead"),
    }
}
