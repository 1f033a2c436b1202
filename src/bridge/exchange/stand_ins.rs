//! The stand-ins: which sessions of the other machine the hub knows by this bridge, and what is on its way to it for each.

use std::collections::{BTreeMap, VecDeque};

use super::effect::{Effect, StandIn};
use crate::protocol::{
    Activity, AskId, ClientKind, ClientMessage, ClientTag, Hello, MachineName, Named, Notice, PeerName, Presence,
    Reach, RemoteFacts, RemoteSession, Request, RequestId, VERSIONS, Wake,
};

/// What a request to the hub was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An ask of the other machine's.
    Ask(AskId),
    /// The reply to an ask of this machine's.
    Reply(AskId),
}

#[derive(Debug, Clone, Default)]
struct Stand {
    session: Option<RemoteSession>,
    is_welcome: bool,
    /// Whether the session has changed since the hello that may be on its way.
    has_changed: bool,
    last_id: RequestId,
    requests: BTreeMap<RequestId, Purpose>,
}

/// The stand-ins of one machine.
#[derive(Debug)]
pub(super) struct StandIns {
    machine: MachineName,
    all: BTreeMap<StandIn, Stand>,
    is_reachable: bool,
}

impl StandIns {
    /// Returns the table of a machine of which nothing is known.
    pub(super) const fn new(machine: MachineName) -> Self {
        Self { machine, all: BTreeMap::new(), is_reachable: false }
    }

    /// Adds a session, or takes over what has changed of it; the shell where there is none.
    pub(super) fn add(&mut self, session: Option<&RemoteSession>, out: &mut VecDeque<Effect>) {
        let stand_in = session.map(|session| session.id);
        let before = self.all.get(&stand_in).map(|stand| stand.session.clone());
        if before.as_ref().is_some_and(|before| before.as_ref() == session) {
            return;
        }
        self.all.entry(stand_in).or_default().session = session.cloned();
        out.push_back(Effect::Connect(stand_in, Box::new(self.hello(session))));
        if before.is_some() {
            self.tell_change(stand_in, out);
        }
    }

    /// Tells the hub what holds of a session now, if it can be told; else once it has welcomed the stand-in.
    fn tell_change(&mut self, stand_in: StandIn, out: &mut VecDeque<Effect>) {
        let Some(stand) = self.all.get_mut(&stand_in) else { return };
        stand.has_changed = !stand.is_welcome;
        let Some(RemoteSession { name, presence, .. }) = stand.session.clone() else { return };
        self.notice(stand_in, Notice::Named(Named { name: name.to_string() }), out);
        self.notice(stand_in, Notice::Presence(presence), out);
    }

    fn hello(&self, session: Option<&RemoteSession>) -> Hello {
        Hello {
            versions: VERSIONS,
            program: concat!("relay-bridge ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind: ClientKind::Remote(Box::new(RemoteFacts {
                machine: self.machine.clone(),
                session: session.cloned(),
            })),
        }
    }

    /// Lets one leave.
    pub(super) fn remove(&mut self, stand_in: StandIn, out: &mut VecDeque<Effect>) {
        if self.all.remove(&stand_in).is_some() {
            out.push_back(Effect::Leave(stand_in));
        }
    }

    /// Lets all leave, the shell last.
    pub(super) fn remove_all(&mut self, out: &mut VecDeque<Effect>) {
        let all: Vec<StandIn> = self.all.keys().rev().copied().collect();
        all.into_iter().for_each(|stand_in| self.remove(stand_in, out));
    }

    /// Returns the sessions, by their tags there.
    pub(super) fn sessions(&self) -> Vec<ClientTag> {
        self.all.keys().copied().flatten().collect()
    }

    /// Returns whether a session of the other machine is known, or it is the shell.
    pub(super) fn contains(&self, stand_in: StandIn) -> bool {
        self.all.contains_key(&stand_in)
    }

    /// Returns whether the hub has welcomed all, and so has said which asks it has of them.
    pub(super) fn are_all_welcome(&self) -> bool {
        self.all.values().all(|stand| stand.is_welcome)
    }

    /// Adds a session that is not in the other side's list any more, and of which something is still to be told.
    pub(super) fn add_gone(&mut self, id: ClientTag, name: PeerName, out: &mut VecDeque<Effect>) {
        let presence = Presence {
            cwd: String::new(),
            branch: None,
            status: Activity::Unknown,
            waiting_for: None,
            wakes_by: Wake::NextPrompt,
        };
        self.add(Some(&RemoteSession { id, name, agent: String::new(), client: None, presence }), out);
    }

    /// Returns what a stand-in is called here.
    pub(super) fn name(&self, stand_in: StandIn) -> String {
        let session = self.all.get(&stand_in).and_then(|stand| stand.session.as_ref());
        let name = session.map(|session: &RemoteSession| session.name.at(&self.machine));
        name.map_or_else(|| self.machine.shell(), |name: PeerName| name.to_string())
    }

    /// Tells the hub whether the machine can be reached, if that has changed.
    pub(super) fn set_reachable(&mut self, is_reachable: bool, out: &mut VecDeque<Effect>) {
        if std::mem::replace(&mut self.is_reachable, is_reachable) != is_reachable {
            self.tell_reach(out);
        }
    }

    fn tell_reach(&mut self, out: &mut VecDeque<Effect>) {
        self.notice(None, Notice::Reach(Reach { reachable: self.is_reachable }), out);
    }

    /// Records that the hub has welcomed a stand-in: what was on its way to another hub is not any more.
    pub(super) fn handle_welcome(&mut self, stand_in: StandIn, out: &mut VecDeque<Effect>) {
        if let Some(stand) = self.all.get_mut(&stand_in) {
            stand.is_welcome = true;
            stand.requests.clear();
            if stand.has_changed {
                self.tell_change(stand_in, out);
            }
        }
        if stand_in.is_none() {
            self.tell_reach(out);
        }
    }

    /// Records that a stand-in has no connection.
    pub(super) fn handle_lost(&mut self, stand_in: StandIn) {
        if let Some(stand) = self.all.get_mut(&stand_in) {
            stand.is_welcome = false;
            stand.requests.clear();
        }
    }

    /// Returns whether the hub can be told something.
    pub(super) fn is_welcome(&self, stand_in: StandIn) -> bool {
        self.all.get(&stand_in).is_some_and(|stand| stand.is_welcome)
    }

    /// Tells the hub something, if it can be told.
    pub(super) fn notice(&mut self, stand_in: StandIn, notice: Notice, out: &mut VecDeque<Effect>) {
        if self.is_welcome(stand_in) {
            out.push_back(Effect::Tell(stand_in, ClientMessage::Notice(notice)));
        }
    }

    /// Wants something of the hub, if it can be told. Returns whether it could.
    pub(super) fn request(
        &mut self,
        stand_in: StandIn,
        purpose: Purpose,
        request: Request,
        out: &mut VecDeque<Effect>,
    ) -> bool {
        let Some(stand) = self.all.get_mut(&stand_in).filter(|stand| stand.is_welcome) else { return false };
        // The first id of each connection is that of its hello.
        stand.last_id = stand.last_id.max(1) + 1;
        stand.requests.insert(stand.last_id, purpose);
        out.push_back(Effect::Tell(stand_in, ClientMessage::Request(stand.last_id, request)));
        true
    }

    /// Returns what a request was made for, which has been answered.
    pub(super) fn take_request(&mut self, stand_in: StandIn, id: RequestId) -> Option<Purpose> {
        self.all.get_mut(&stand_in)?.requests.remove(&id)
    }
}
