//! The texts of asks and their replies, on their way to connections.

use std::time::Instant;

use super::Asks;
use super::open::Phase;
use super::pending::PendingSends;
use crate::hub::connections::ConnId;
use crate::hub::effect::Outbox;
use crate::hub::peers::Peers;
use crate::protocol::{AskId, AskKind, Asked, Chain, Event, ReplyEvent, Told};

impl Asks {
    /// Sends what is held of an ask to a connection, or lets it wait for that.
    pub(super) fn send(&mut self, now: Instant, peers: &Peers, conn: Option<ConnId>, id: AskId, out: &mut Outbox) {
        let (Some(conn), Some(ask)) = (conn, self.open.get(id)) else { return };
        if self.pending.is_waited_for(conn) {
            self.pending.push(conn, ask.number, id, ask.bytes());
        } else {
            self.send_now(now, peers, conn, id, out);
        }
    }

    fn send_now(&self, now: Instant, peers: &Peers, conn: ConnId, id: AskId, out: &mut Outbox) {
        let Some(ask) = self.open.get(id) else { return };
        let (asker, asked) = (ask.link.asker, ask.link.asked);
        match &ask.phase {
            Phase::Asked { question: Some(question) } if peers.conn(asked) == Some(conn) => {
                let (from, text) = (peers.sender(asker).to_owned(), question.clone());
                let (timeout_ms, broadcast_id) = (ask.left_ms(now), ask.broadcast);
                let is_remote = peers.is_remote(asked);
                let from_tag = Some(asker).filter(|tag| is_remote && peers.name(*tag).is_some());
                let chain = if is_remote { self.exported(peers, &ask.link) } else { Chain::default() };
                out.event(
                    Some(conn),
                    match ask.kind {
                        AskKind::Ask => {
                            let question = text;
                            Event::Asked(Asked {
                                ask_id: id,
                                from,
                                question,
                                timeout_ms,
                                broadcast_id,
                                from_tag,
                                chain,
                            })
                        }
                        AskKind::Tell => Event::Told(Told { tell_id: id, from, text, timeout_ms, from_tag, chain }),
                    },
                );
            }
            Phase::Answered(reply) if peers.conn(asker) == Some(conn) => {
                let (from, text) = (reply.from.clone(), reply.text.clone());
                out.event(Some(conn), Event::Reply(ReplyEvent { ask_id: id, from, by: asked, text }));
            }
            Phase::Asked { .. } | Phase::Answered(_) => {}
        }
    }

    /// Sends one text that waited for its connection. Returns whether there was one.
    pub(in crate::hub) fn send_pending(&mut self, now: Instant, peers: &Peers, out: &mut Outbox) -> bool {
        let next = self.pending.pop_ready();
        next.inspect(|(conn, id)| self.send_now(now, peers, *conn, *id, out)).is_some()
    }

    /// Returns what waits for connections that take nothing at present.
    pub(in crate::hub) const fn pending(&self) -> &PendingSends {
        &self.pending
    }

    /// Returns what waits for connections, to be told of these.
    pub(in crate::hub) const fn pending_mut(&mut self) -> &mut PendingSends {
        &mut self.pending
    }
}
