//! Connections that break and are restored.

use crate::simulation::{Simulation, note};
use crate::state::connection::Connection;
use crate::state::event::Event;

impl Simulation {
    pub(crate) fn is_connected(&self, connection: Connection) -> bool {
        match connection {
            Connection::Controller(controller) => {
                let controller = &self.controllers[controller];
                controller.process.is_some() && controller.connected
            }
            Connection::Agent(host) => {
                self.agent_hosts[host].connected && self.agent_hosts[host].process.is_some()
            }
            Connection::Operator | Connection::Subscriber(_) => true,
        }
    }

    /// Breaks the connection of an agent or a controller for `outage_ms` milliseconds. An agent
    /// notices the outage late or never.
    pub(crate) fn disconnect(&mut self, connection: Connection, outage_ms: u64) {
        note!(self, "disconnect {connection:?} for {outage_ms} ms");
        match connection {
            Connection::Controller(controller) => self.set_controller_connected(controller, false),
            Connection::Agent(host) => self.agent_hosts[host].connected = false,
            Connection::Operator | Connection::Subscriber(_) => return,
        }
        let notice = self.rng.pick_below(2 * outage_ms);
        if notice < outage_ms {
            self.schedule(notice, Event::NoticeConnection(connection));
        }
        self.schedule(outage_ms, Event::Reconnect(connection));
    }

    pub(crate) fn reconnect(&mut self, connection: Connection) {
        match connection {
            Connection::Controller(controller) => self.set_controller_connected(controller, true),
            Connection::Agent(host) => {
                self.agent_hosts[host].connected = true;
                self.schedule(1, Event::NoticeConnection(connection));
            }
            Connection::Operator | Connection::Subscriber(_) => {}
        }
    }

    fn set_controller_connected(&mut self, controller: usize, connected: bool) {
        self.controllers[controller].connected = connected;
        if let Some(servers) = self.servers.for_controller(controller) {
            servers.set_disconnected(controller, !connected);
        }
    }

    pub(crate) fn notice_connection(&mut self, connection: Connection) {
        if let Connection::Agent(host) = connection {
            self.notify_agent_of_connection(host);
        }
    }
}
