//! Who is cut because too much waits to be written, as the daemon's own page says.

use super::Daemon;
use crate::hub::limits::{QUEUED_TOTAL_MAX, STUCK_WAIT};
use crate::hub::{ConnId, Input};

/// From how many queued bytes on a connection is congested: for requests and texts it waits where they are.
pub(super) const CONGESTED: usize = 64 * 1024;

/// At how many queued bytes it takes more.
const DRAINED: usize = 16 * 1024;

impl Daemon<'_> {
    /// Judges what a connection has not taken.
    pub(super) fn judge_reader(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let queued = connection.queued();
        if !connection.is_congested && queued > CONGESTED {
            connection.is_congested = true;
            self.congested.set(conn, self.now + STUCK_WAIT);
            self.handle(Input::Congested { conn });
        } else if connection.is_congested && queued <= DRAINED {
            connection.is_congested = false;
            self.congested.clear(&conn);
            self.will_read(conn);
            self.handle(Input::Drained { conn });
        }
        while self.totals.queued > QUEUED_TOTAL_MAX && self.cut_largest_queue() {}
    }

    /// Cuts the connections that have taken nothing for a while and for which too much waits.
    pub(super) fn look_for_stuck_readers(&mut self) {
        while let Some(conn) = self.congested.pop_due(self.now) {
            let Some(connection) = self.connections.get(&conn) else { continue };
            let since = connection.stuck().unwrap_or(self.now);
            let waiting = connection.queued().saturating_add(self.hub.waiting_bytes(conn));
            if self.now < since + STUCK_WAIT {
                self.congested.set(conn, since + STUCK_WAIT);
            } else if waiting > self.queued_bytes {
                self.cut(conn, waiting);
            } else {
                self.congested.set(conn, self.now + STUCK_WAIT);
            }
        }
    }

    /// Cuts the congested connection for which the most waits. Returns whether there was one.
    fn cut_largest_queue(&mut self) -> bool {
        let congested = self.connections.iter().filter(|(_, connection)| connection.is_congested);
        let largest = congested.map(|(conn, connection)| (connection.queued(), *conn)).max();
        if let Some((queued, conn)) = largest {
            self.cut(conn, queued);
        }
        largest.is_some()
    }

    fn cut(&mut self, conn: ConnId, waiting: usize) {
        tracing::warn!(conn = conn.0, waiting, limit = self.queued_bytes, "cut a connection: its reader is too slow");
        self.hub.count_slow_reader();
        self.lose(conn);
    }
}
