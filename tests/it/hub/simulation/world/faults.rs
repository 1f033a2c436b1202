//! The faults of a run: connections cut, the hub killed or paused, clients killed, paused or leaving.

use std::time::{Duration, Instant};

use relay::client::ledger::Ledger;
use relay::hub::{ConnId, Input};
use relay::protocol::{AskState, ClientKind, Progress};
use serde_json::json;

use super::{Step, World};

impl World {
    /// Cuts the connection of a client, with what is on its way in it.
    pub(crate) fn cut(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        self.spoil_renewal(client);
        self.checker.count("fault: connection cut");
        self.note(|| format!("the connection of {client} is cut"));
        self.lose(conn);
        self.schedule_in(0..100, Step::HubEnd(conn));
        self.schedule_in(0..100, Step::ClientEnd(conn));
    }

    /// Lets the connection of a client take no texts for a while.
    pub(crate) fn congest(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        self.checker.count("fault: connection congested");
        self.note(|| format!("the connection of {client} is congested"));
        self.tell_hub(Input::Congested { conn });
        self.schedule_in(0..3000, Step::Drains(conn));
    }

    /// Loses what is on its way in a connection, from some moment on.
    fn lose(&mut self, conn: ConnId) {
        let until = self.now + self.random.millis(0..60);
        if let Some(pipe) = self.pipes.get_mut(&conn) {
            pipe.is_broken = true;
        }
        let lost = |at: Instant, step: &Step| {
            at > until && matches!(step, Step::ToHub(c, _) | Step::ToClient(c, _) if *c == conn)
        };
        self.agenda.retain(|(at, _), step| !lost(*at, step));
    }

    /// Gives a session a new channel in place of the present one, which leaves in order or is killed.
    pub(crate) fn renew(&mut self, client: usize, orderly: bool) {
        if matches!(self.clients[client].config.kind, ClientKind::Control { .. }) || self.clients[client].renewing {
            return;
        }
        self.checker.count(if orderly { "fault: channel renewed" } else { "fault: channel killed and renewed" });
        self.note(|| format!("the channel of {client} {}", if orderly { "leaves" } else { "is killed" }));
        let can_leave = orderly && self.clients[client].welcomed.is_some();
        if can_leave {
            // A channel says so of all that it has shown.
            for ask in self.checker.shown_to(client) {
                let progress = Progress { ask_id: ask, state: AskState::HandedOver, is_final: false };
                self.clients[client].ledger.handle_progress(progress);
            }
            self.clients[client].ledger.handle_leave(self.now, Some(json!(client)));
            self.pump();
        }
        self.missed.insert(client);
        self.checker.saw_leave(client);
        // What it leaves to a hub that is dead, or that stands still, is lost or loses time on its way; what it says into a
        // connection that is broken is lost as well.
        let connected = self.clients[client].conn.is_some_and(|conn| !self.pipes[&conn].is_broken);
        let is_heard = can_leave && connected && self.running.is_some() && self.hub_paused_until <= self.now;
        self.checker.saw_renewal(client, is_heard);
        let mut next_at = self.now;
        if let Some(conn) = self.clients[client].conn.take() {
            if !orderly {
                self.lose(conn);
            }
            let end = self.pipes[&conn].to_hub_at.max(self.now) + self.random.millis(0..20);
            self.schedule(end, Step::HubEnd(conn));
            // The agent starts another when this one has ended, and the hub reads in the order of arrival.
            next_at = end;
            if !orderly && self.random.chance(70) {
                self.checker.count("process end seen");
                let at = end + self.random.millis(0..500);
                self.schedule(at, Step::ProcessEnd(conn));
            }
        }
        let renewed = &mut self.clients[client];
        (renewed.channels, renewed.fresh) = (renewed.channels + 1, true);
        (renewed.ledger, renewed.renewing, renewed.welcomed) = (Ledger::new(renewed.config.clone()), is_heard, None);
        // What the former channel still meant to do is not done by the next one.
        self.agenda.retain(|_, step| !matches!(step, Step::Connect(by) if *by == client));
        let next_at = next_at + self.random.millis(0..1200);
        self.schedule(next_at, Step::Connect(client));
    }

    /// Records that what was left to a new channel may be lost on the way.
    fn spoil_renewal(&mut self, client: usize) {
        if std::mem::take(&mut self.clients[client].renewing) {
            self.checker.saw_renewal(client, false);
        }
    }

    /// Kills the hub; the next one can start after `down`.
    pub(crate) fn kill_hub(&mut self, down: Duration) {
        if self.running.take().is_none() {
            return;
        }
        (0..self.clients.len()).for_each(|client| self.spoil_renewal(client));
        self.checker.count("fault: hub killed");
        self.note(|| format!("the hub is killed, down for {down:?}"));
        self.hub_may_start = self.now + down;
        self.hub_paused_until = self.now;
        let pipes = std::mem::take(&mut self.pipes);
        self.agenda.retain(|_, step| {
            !matches!(step, Step::ToHub(..) | Step::HubEnd(_) | Step::ProcessEnd(_) | Step::Drains(_))
        });
        for (conn, mut pipe) in pipes {
            self.lose(conn);
            (pipe.hub_open, pipe.is_broken) = (false, true);
            if self.clients[pipe.client].conn == Some(conn) {
                let at = pipe.to_client_at.max(self.now) + self.random.millis(0..50);
                self.schedule(at, Step::ClientEnd(conn));
                self.pipes.insert(conn, pipe);
            }
        }
    }

    pub(crate) fn pause_hub(&mut self, pause: Duration) {
        let Some(running) = &self.running else { return };
        // A hub that sleeps through its grace period takes those who came meanwhile for missing.
        self.hub_overslept |= running.hub.is_in_grace();
        (0..self.clients.len()).for_each(|client| self.spoil_renewal(client));
        self.checker.count("fault: hub paused");
        self.note(|| format!("the hub is paused for {pause:?}"));
        self.hub_paused_until = self.hub_paused_until.max(self.now + pause);
        self.hub_was_paused = true;
    }

    pub(crate) fn pause_client(&mut self, client: usize, pause: Duration) {
        self.spoil_renewal(client);
        self.checker.count("fault: client paused");
        self.note(|| format!("{client} is paused for {pause:?}"));
        self.clients[client].paused_until = self.now + pause;
        self.checker.saw_resume(self.now + pause, client);
        self.missed.insert(client);
    }

    /// Ends a client: in order, or by killing it, whereupon its process's end may be seen.
    pub(crate) fn end_client(&mut self, client: usize, orderly: bool) {
        self.checker.count(if orderly { "fault: client left" } else { "fault: client killed" });
        self.note(|| format!("{client} {}", if orderly { "leaves" } else { "is killed" }));
        if orderly {
            // An agent that ends may have asked its channel to leave first.
            let parks = self.clients[client].welcomed.is_some() && self.random.chance(30);
            self.clients[client].ledger.handle_leave(self.now, parks.then(|| json!(client)));
            self.pump();
        }
        self.missed.insert(client);
        self.clients[client].alive = false;
        if let Some(conn) = self.clients[client].conn.take() {
            if !orderly {
                self.lose(conn);
            }
            let end = self.pipes[&conn].to_hub_at.max(self.now) + self.random.millis(0..20);
            self.schedule(end, Step::HubEnd(conn));
            if !orderly && self.random.chance(50) {
                self.checker.count("process end seen");
                let at = end + self.random.millis(0..500);
                self.schedule(at, Step::ProcessEnd(conn));
            }
        }
    }
}
