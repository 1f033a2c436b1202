//! The faults of a run: connections cut, the hub killed or paused, clients killed, paused or leaving.

use std::time::{Duration, Instant};

use relay::hub::{ConnId, Input};

use super::{Step, World};

impl World {
    /// Cuts the connection of a client, with what is on its way in it.
    pub(crate) fn cut(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
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
        let lost = |at: Instant, step: &Step| {
            at > until && matches!(step, Step::ToHub(c, _) | Step::ToClient(c, _) if *c == conn)
        };
        self.agenda.retain(|(at, _), step| !lost(*at, step));
    }

    /// Kills the hub; the next one can start after `down`.
    pub(crate) fn kill_hub(&mut self, down: Duration) {
        if self.running.take().is_none() {
            return;
        }
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
            pipe.hub_open = false;
            if self.clients[pipe.client].conn == Some(conn) {
                let at = pipe.to_client_at.max(self.now) + self.random.millis(0..50);
                self.schedule(at, Step::ClientEnd(conn));
                self.pipes.insert(conn, pipe);
            }
        }
    }

    pub(crate) fn pause_hub(&mut self, pause: Duration) {
        let Some(running) = &self.running else { return };
        // A hub that sleeps through its settling takes those who came meanwhile for missing.
        self.hub_overslept |= running.hub.is_settling();
        self.checker.count("fault: hub paused");
        self.note(|| format!("the hub is paused for {pause:?}"));
        self.hub_paused_until = self.now + pause;
        self.hub_was_paused = true;
    }

    pub(crate) fn pause_client(&mut self, client: usize, pause: Duration) {
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
            self.clients[client].ledger.handle_bye();
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
