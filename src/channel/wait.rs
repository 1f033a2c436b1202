//! How a channel waits: each source is asked once before the wait, and then only when it was woken.

use std::future::pending;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::yield_now;

use super::Channel;
use super::sources::{Happened, OF_A_TURN, Source, Sources};
use crate::agent::{self, Agent};
use crate::client::Connection;

impl Channel {
    /// Waits until something has happened.
    ///
    /// # Errors
    /// The signal that tells the channel to leave.
    pub(super) async fn wait(
        &mut self,
        mut told_to_leave: Pin<&mut impl Future<Output = &'static str>>,
    ) -> Result<Happened, &'static str> {
        let is_full = self.is_full();
        // The way into the session is the owner's.
        let has_route = !self.place.is_proxy();
        let of_route = self.agent.as_mut().filter(|_| has_route).and_then(Agent::poll_timeout);
        let of_inbox = self.inbox.poll_timeout(Instant::now());
        let timer = [of_inbox, of_route, self.looks_at].into_iter().flatten().min();
        let mut stdio = pin!(self.stdio.ready(is_full));
        let mut hub = pin!(hub_turn(&mut self.hub));
        let mut session = pin!(self.place.ready());
        let mut agent = pin!(agent_happened(self.agent.as_mut(), has_route));
        let Sources { ready, wakers, woken } = &mut self.sources;
        let mut happened = Happened::default();
        let mut has_waited = false;
        loop {
            // All are asked before anything is done: what the hub has said may take back what is to be shown. One that is on the
            // list twice may have happened already, and is over.
            for source in woken.drain(..) {
                let context = &mut Context::from_waker(&wakers[source as usize]);
                match source {
                    Source::Signals => {
                        if let Poll::Ready(signal) = told_to_leave.as_mut().poll(context) {
                            return Err(signal);
                        }
                    }
                    Source::Stdio => happened.stdio = happened.stdio || stdio.as_mut().poll(context).is_ready(),
                    Source::Hub => happened.hub = happened.hub || hub.as_mut().poll(context).is_ready(),
                    Source::Session => happened.session = happened.session || session.as_mut().poll(context).is_ready(),
                    Source::Agent if happened.agent.is_some() => {}
                    Source::Agent => {
                        if let Poll::Ready(what) = agent.as_mut().poll(context) {
                            happened.agent = Some(what);
                        }
                    }
                    Source::Alarm => happened.alarm = happened.alarm || self.alarm.poll_wait(context, timer).is_ready(),
                }
            }
            if happened.is_anything() {
                break;
            }
            ready.wait(woken).await;
            has_waited = true;
        }
        if !has_waited {
            // Neither sockets nor signals tell anything while the runtime has no turn.
            yield_now().await;
        }
        ready.take(woken);
        woken.extend(OF_A_TURN);
        Ok(happened)
    }
}

async fn hub_turn(hub: &mut Option<Connection>) {
    match hub {
        Some(hub) => hub.turn().await,
        None => pending().await,
    }
}

async fn agent_happened(agent: Option<&mut Agent>, has_route: bool) -> agent::Happened {
    match agent {
        Some(agent) => agent.happened(has_route).await,
        None => pending().await,
    }
}
