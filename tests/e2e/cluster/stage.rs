//! What these tests begin with: three servers, three controllers, each behind a proxy of its own, and an operator.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{ErrorCode, HostId, headers};
use scuttle_tests::clients::client::read_answer;
use scuttle_tests::faults::proxy::{Proxy, Rest};
use scuttle_tests::wait::within;
use scuttle_tests::{AskError, Client, Controller, FakeAgent, Http, NatsCluster, Role, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How many controllers.
pub(crate) const CONTROLLERS: usize = 3;

/// Dropping it ends its processes and removes its files.
pub(crate) struct Stage {
    pub(crate) operator: Client,
    pub(crate) controllers: Vec<Controller>,
    /// The network between each controller and all servers.
    pub(crate) roads: Vec<Proxy>,
    pub(crate) cluster: NatsCluster,
    dir: TempDir,
}

impl Stage {
    /// Starts everything, and waits until one controller leads and the others follow.
    pub(crate) async fn start() -> Result<Self> {
        let cluster = NatsCluster::start().await?;
        let mut stage = Self {
            operator: cluster.client(Role::Operator).await?,
            cluster,
            controllers: Vec::new(),
            roads: Vec::new(),
            dir: tempfile::tempdir()?,
        };
        for number in 0..CONTROLLERS {
            let road = Proxy::start(&stage.cluster.ports(), Rest::Arrives).await?;
            let mut environment =
                Vec::from(stage.cluster.passwords().environment(Role::Controller));
            for (name, value) in [
                ("SCUTTLE_STORE", "jetstream"),
                ("SCUTTLE_REPLICAS", "3"),
                ("SCUTTLE_HTTP", "127.0.0.1:0"),
            ] {
                environment.push((name, value.to_owned()));
            }
            let dir = stage.data_dir(number);
            let controller = Controller::start_at(&road.url(), environment, &dir)?;
            stage.controllers.push(controller);
            stage.roads.push(road);
        }
        stage.settled().await?;
        Ok(stage)
    }

    /// A path of this test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where a controller has its rows.
    pub(crate) fn data_dir(&self, number: usize) -> PathBuf {
        self.path(&format!("controller-{number}"))
    }

    /// A host, and its agent, which has reported these deckies.
    pub(crate) async fn agent(&self, name: &str, deckies: &[&str]) -> Result<FakeAgent> {
        let host = self.operator.enroll(name).await?.host.host_uuid;
        let client = self.cluster.client(Role::Agents).await?;
        let mut agent = FakeAgent::over(client, &host).await?;
        agent.report(deckies).await?;
        Ok(agent)
    }

    /// Waits until one of these controllers leads and is heard, and the rest of them follow it; which.
    pub(crate) async fn one_of(&mut self, numbers: &[usize]) -> Result<usize> {
        let mut doors = Vec::new();
        for number in numbers {
            doors.push((
                *number,
                Http::of(self.controllers[*number].process()).await?,
            ));
        }
        let look = || async {
            let mut leaders = Vec::new();
            for (number, http) in &doors {
                match http.body("/readyz").await?.trim_end() {
                    "ready: leading" => leaders.push(*number),
                    "ready: following" => {}
                    other => bail!("{number} says {other}"),
                }
            }
            match *leaders {
                [leader] => Ok(leader),
                _ => bail!("{leaders:?} lead"),
            }
        };
        let leader = until("one leads, and the others follow", look, |_| true).await?;
        for server in &self.cluster.servers {
            let agents = Client::with(server.options(Role::Agents), &server.url()).await?;
            // What a leader listens to last: who hears this hears all.
            let subject = AgentChannel::Results.subject(&"nobody".parse()?);
            let ask = || agents.raw(&subject, HeaderMap::new(), "{}");
            until("each server knows of the leader", ask, |_| true).await?;
        }
        Ok(leader)
    }

    /// The same of all.
    pub(crate) async fn settled(&mut self) -> Result<usize> {
        self.one_of(&[0, 1, 2]).await
    }

    /// Waits until another than this one leads; which.
    pub(crate) async fn next_to(&mut self, leader: usize) -> Result<usize> {
        let others: Vec<_> = (0..CONTROLLERS)
            .filter(|number| *number != leader)
            .collect();
        self.one_of(&others).await
    }

    /// Starts a controller again on the same data directory, if that is still there.
    pub(crate) async fn restart(&mut self, number: usize) -> Result<()> {
        self.controllers[number].restart().await
    }
}

/// A teardown that is asked for without waiting; what is answered, whenever that is.
pub(crate) struct AuditSubject {
    /// Its idempotency key, and its reason.
    pub(crate) key: String,
    request: Value,
    answers: Subscriber,
}

impl AuditSubject {
    /// Asks, and makes sure that the servers have the request.
    pub(crate) async fn for_teardown(
        operator: &Client,
        host: &HostId,
        decky: &str,
        key: &str,
    ) -> Result<Self> {
        let inbox = operator.nats().new_inbox();
        let answers = operator.nats().subscribe(inbox.clone()).await?;
        let asked = Self {
            key: key.to_owned(),
            request: json!({ "host_uuid": host, "decky_id": decky, "reason": key }),
            answers,
        };
        let (headers, payload) = (asked.headers(), asked.request.to_string());
        let nats = operator.nats();
        nats.publish_with_reply_and_headers(subjects::TEARDOWN, inbox, headers, payload.into())
            .await?;
        nats.flush().await?;
        Ok(asked)
    }

    /// Checks that whatever was answered by now is `not_leader`: how many.
    pub(crate) async fn refused(&mut self, operator: &Client) -> Result<usize> {
        // What the servers had for this client before it comes before the answer to this.
        operator.answered().await?;
        let mut refused = 0;
        while let Ok(answer) =
            tokio::time::timeout(std::time::Duration::ZERO, self.answers.next()).await
        {
            let Some(answer) = answer else { break };
            match read_answer::<Value>(&answer) {
                Err(AskError::Refused(why)) if why.code == ErrorCode::NotLeader => refused += 1,
                // Nobody subscribed: the server says so, with no body.
                Err(AskError::Broken(_)) if answer.payload.is_empty() => {}
                other => bail!("{} was answered with {other:?}", self.key),
            }
        }
        Ok(refused)
    }

    /// Asks the same once more, until it is answered; checks that there is one operation for all.
    pub(crate) async fn again(&self, operator: &Client) -> Result<()> {
        let ask = || operator.ask_with::<Value>(subjects::TEARDOWN, self.headers(), &self.request);
        until("it is accepted", ask, |answer| answer["accepted"] == true).await?;
        let operations = within("the operations", operator.operations()).await??;
        let of_this = operations
            .iter()
            .filter(|each| each.reason.as_deref() == Some(&*self.key));
        let made = of_this.count();
        ensure!(made == 1, "{} made {made} operations", self.key);
        Ok(())
    }

    fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(headers::MSG_ID, &*self.key);
        map
    }
}
