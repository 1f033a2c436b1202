//! The faults of a run that concern sessions and whole machines.

use std::time::Duration;

use super::{Step, World};

impl World {
    /// Ends a client: in order, or by killing it.
    pub(crate) fn end_client(&mut self, client: usize, orderly: bool) {
        self.checker.count(if orderly { "fault: client left" } else { "fault: client killed" });
        self.note(|| format!("{client} {}", if orderly { "leaves" } else { "is killed" }));
        if orderly {
            self.clients[client].ledger.handle_leave(self.now, None);
            self.pump_client(client);
        }
        self.missed.insert(client);
        self.clients[client].alive = false;
        self.checker.saw_end(client);
        if let Some(conn) = self.clients[client].conn.take() {
            if !orderly {
                self.lose(conn);
            }
            let end = self.pipes[&conn].to_hub_at.max(self.now) + self.random.millis(0..20);
            self.schedule(end, Step::HubEnd(conn));
        }
    }

    /// Cuts the connection of a client to its hub, with what is on its way in it.
    pub(crate) fn cut(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        self.checker.count("fault: connection cut");
        self.note(|| format!("the connection of {client} is cut"));
        self.lose(conn);
        self.schedule_in(0..100, Step::HubEnd(conn));
        self.schedule_in(0..100, Step::ClientEnd(conn));
    }

    /// Lets nothing run on a machine for a while.
    pub(crate) fn pause(&mut self, machine: usize, pause: Duration) {
        self.checker.count("fault: machine paused");
        self.note(|| format!("machine {machine} is paused for {pause:?}"));
        // A hub that sleeps through its grace period takes those who come meanwhile for missing, and so one that waits for
        // a client.
        let overslept = self.machines[machine].hub.as_ref().is_none_or(relay::hub::Hub::is_in_grace);
        if overslept {
            self.excuse(machine, true);
            self.checker.excuse_all(|client| self.clients[client].machine == machine);
        }
        for (index, client) in self.clients.iter().enumerate().filter(|(_, client)| client.machine == machine) {
            if overslept || !client.welcomed || client.conn.is_none_or(|conn| self.pipes[&conn].is_broken) {
                self.missed.insert(index);
            }
            self.checker.saw_pause(index, self.now + pause);
        }
        self.machines[machine].paused_until = self.now + pause;
    }

    /// Changes what a session does.
    pub(crate) fn change_presence(&mut self, client: usize) {
        let status = *self.random.pick(&[
            relay::protocol::Activity::Idle,
            relay::protocol::Activity::Busy,
            relay::protocol::Activity::Waiting,
        ]);
        let presence = &mut self.clients[client].presence;
        presence.status = status;
        let presence = presence.clone();
        self.clients[client].ledger.handle_presence(presence);
    }

    /// Ends every fault: everything runs and everything passes.
    pub(crate) fn mend(&mut self) {
        self.mend_wires();
        let now = self.now;
        for machine in &mut self.machines {
            machine.hub_may_start = machine.hub_may_start.min(now);
            machine.rules.values_mut().for_each(|rules| *rules = super::Rules::Ask);
        }
    }
}
