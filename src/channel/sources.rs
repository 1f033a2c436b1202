//! What a channel waits for: each source is asked once before the wait, and then only when it was woken.

use std::future::pending;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::yield_now;

use super::Channel;
use crate::agent::{self, Agent};
use crate::client::Connection;
use crate::ready::ReadyList;

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Stdio,
    Hub,
    Session,
    Agent,
    Alarm,
}

/// The sources in the order of their wakers.
const ALL: [Source; 6] = [Source::Signals, Source::Stdio, Source::Hub, Source::Session, Source::Agent, Source::Alarm];

/// The sources whose wait begins anew with each turn. That for signals goes on.
const OF_A_TURN: &[Source] = ALL.split_at(1).1;

/// Which sources were woken.
#[derive(Debug)]
pub(super) struct Sources {
    ready: ReadyList<Source>,
    wakers: [Waker; ALL.len()],
    /// Those that are to be asked.
    woken: Vec<Source>,
}

impl Default for Sources {
    fn default() -> Self {
        let ready = ReadyList::default();
        let wakers = ALL.map(|source| ready.waker(source));
        Self { ready, wakers, woken: ALL.to_vec() }
    }
}

/// What has happened when a wait is over.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Happened {
    /// The client has said something, has taken something, or is gone.
    pub stdio: bool,
    /// The hub has said something, or something is due with it.
    pub hub: bool,
    /// There is something to do at the session's socket.
    pub session: bool,
    /// Of the agent.
    pub agent: Option<agent::Happened>,
    /// Something else is due.
    pub alarm: bool,
}

impl Happened {
    const fn is_anything(self) -> bool {
        self.stdio || self.hub || self.session || self.agent.is_some() || self.alarm
    }
}

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
            // One that is on the list twice may have happened already, and is over.
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
