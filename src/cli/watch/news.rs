//! What of the traffic is news for a person who does something else: a session that begins to wait for its user, and an own
//! ask that has ended. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::cli::output::visible_line;
use crate::cli::wording;
use crate::protocol::{
    Activity, AskId, AskKind, AskOutcome, AskView, BroadcastId, PeerName, Presence, SHELL, Watched, Watching,
};

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    /// What it is about.
    pub(super) summary: String,
    /// The rest.
    pub(super) body: String,
}

/// An own broadcast that has not ended.
#[derive(Debug, Default)]
struct Broadcast {
    open: BTreeSet<AskId>,
    asked: usize,
    answered: usize,
    /// How many were taken back: by their asker, who knows it.
    withdrawn: usize,
}

/// What was told so far, as far as it decides what is news.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: BTreeSet<PeerName>,
    broadcasts: BTreeMap<BroadcastId, Broadcast>,
}

impl Desk {
    /// Takes the first state: what has begun before is no news.
    pub(super) fn new(first: &Watching) -> Self {
        let mut desk = Self::default();
        drop(desk.handle_state(first, None));
        desk
    }

    /// Takes the state that a hub tells after a reconnect. A session that is not back yet waits as before.
    pub(super) fn handle_state(&mut self, state: &Watching, home: Option<&Path>) -> Vec<News> {
        let waits = |name: &PeerName| {
            let peer = state.peers.iter().find(|peer| peer.name == *name);
            peer.map_or(state.settling, |peer| peer.presence.status == Activity::Waiting)
        };
        self.waiting.retain(waits);
        for ask in &state.asks {
            self.open(ask);
        }
        if !state.settling {
            // What ended while nobody was told of it is no news any more.
            let open: BTreeSet<AskId> = state.asks.iter().map(|ask| ask.ask_id).collect();
            self.broadcasts.values_mut().for_each(|broadcast| broadcast.open.retain(|ask| open.contains(ask)));
            self.broadcasts.retain(|_, broadcast| !broadcast.open.is_empty());
        }
        state.peers.iter().filter_map(|peer| self.presence(&peer.name, &peer.presence, home)).collect()
    }

    /// Takes one change.
    pub(super) fn handle_change(&mut self, change: &Watched, home: Option<&Path>) -> Option<News> {
        match change {
            Watched::PeerCame { peer } => self.presence(&peer.name, &peer.presence, home),
            Watched::PeerChanged { name, presence } => self.presence(name, presence, home),
            Watched::PeerLeft { name } => {
                self.waiting.remove(name);
                None
            }
            Watched::PeerRenamed { former, name } => {
                if self.waiting.remove(former) {
                    self.waiting.insert(name.clone());
                }
                None
            }
            Watched::AskOpened(ask) => {
                self.open(ask);
                None
            }
            Watched::AskEnded { ask_id, from, to, broadcast_id, kind, outcome, state, latency_ms, .. } => {
                if from != SHELL {
                    return None;
                }
                if let Some(broadcast) = broadcast_id {
                    return self.end_of_broadcast(*broadcast, *ask_id, *outcome);
                }
                let is_known = *outcome == AskOutcome::Withdrawn
                    || (*kind == AskKind::Tell && matches!(outcome, AskOutcome::Shown | AskOutcome::HandedOver));
                (!is_known).then(|| News {
                    summary: to.clone(),
                    body: wording::ended(*outcome, *state, Duration::from_millis(*latency_ms)),
                })
            }
            Watched::AskAdvanced { .. }
            | Watched::AskRefused { .. }
            | Watched::MachineChanged(_)
            | Watched::MachineLeft { .. } => None,
        }
    }

    fn presence(&mut self, name: &PeerName, presence: &Presence, home: Option<&Path>) -> Option<News> {
        if presence.status != Activity::Waiting {
            self.waiting.remove(name);
            return None;
        }
        self.waiting.insert(name.clone()).then(|| {
            let folder = wording::folder(&presence.cwd, home);
            let dialog = presence.waiting_for.as_deref().map(|dialog| format!("{dialog} in "));
            News {
                summary: format!("{name} waits for you"),
                body: visible_line(&format!("{}{folder}", dialog.unwrap_or_default())),
            }
        })
    }

    fn open(&mut self, ask: &AskView) {
        if let (SHELL, Some(broadcast)) = (ask.from.as_str(), ask.broadcast_id) {
            let broadcast = self.broadcasts.entry(broadcast).or_default();
            if broadcast.open.insert(ask.ask_id) {
                broadcast.asked += 1;
            }
        }
    }

    /// Takes it that an ask of an own broadcast has ended: the last one is news.
    fn end_of_broadcast(&mut self, id: BroadcastId, ask_id: AskId, outcome: AskOutcome) -> Option<News> {
        let broadcast = self.broadcasts.get_mut(&id)?;
        if !broadcast.open.remove(&ask_id) {
            return None;
        }
        broadcast.answered += usize::from(outcome == AskOutcome::Reply);
        broadcast.withdrawn += usize::from(outcome == AskOutcome::Withdrawn);
        if !broadcast.open.is_empty() {
            return None;
        }
        let Broadcast { asked, answered, withdrawn, .. } = self.broadcasts.remove(&id)?;
        (withdrawn == 0).then(|| News {
            summary: "your broadcast has ended".to_owned(),
            body: format!("{answered} of {asked} answered"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AskState, OpenAsks, PeerView, Wake};

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn presence(status: Activity) -> Presence {
        let waiting_for = (status == Activity::Waiting).then(|| "permission\nprompt".to_owned());
        Presence { cwd: "/home/ada/web".to_owned(), branch: None, status, waiting_for, wakes_by: Wake::Waiter }
    }

    fn peer(of: &str, status: Activity) -> PeerView {
        PeerView {
            name: name(of),
            presence: presence(status),
            agent: "claude-code".to_owned(),
            client: None,
            pid: Some(1),
            status_s: 0,
            connected_s: 0,
            open_asks: OpenAsks::default(),
            machine: None,
            reachable: None,
            tag: None,
        }
    }

    fn state(settling: bool, peers: Vec<PeerView>) -> Watching {
        Watching { hub: "1".to_owned(), pid: 1, settling, peers, asks: Vec::new(), machines: Vec::new() }
    }

    fn changed(of: &str, status: Activity) -> Watched {
        Watched::PeerChanged { name: name(of), presence: presence(status) }
    }

    fn ended(ask: u64, from: &str, broadcast: Option<u64>, outcome: AskOutcome) -> Watched {
        Watched::AskEnded {
            ask_id: AskId::from_bits(ask),
            from: from.to_owned(),
            to: "web".to_owned(),
            broadcast_id: broadcast.map(BroadcastId::from_bits),
            kind: AskKind::Ask,
            outcome,
            state: AskState::Shown,
            latency_ms: 4_210,
            reply: None,
        }
    }

    fn opened(ask: u64) -> AskView {
        AskView {
            ask_id: AskId::from_bits(ask),
            from: SHELL.to_owned(),
            to: "web".to_owned(),
            broadcast_id: Some(BroadcastId::from_bits(9)),
            kind: AskKind::Ask,
            state: AskState::Accepted,
            age_ms: 0,
            timeout_ms: 1,
            question: None,
        }
    }

    fn told(news: Option<News>) -> Option<String> {
        news.map(|news| format!("{}: {}", news.summary, news.body))
    }

    #[test]
    fn session_is_news_when_it_begins_to_wait_and_only_then() {
        let home = Some(Path::new("/home/ada"));
        let mut desk = Desk::new(&state(false, vec![peer("old", Activity::Waiting), peer("web", Activity::Busy)]));
        let mut change = |change: &Watched| told(desk.handle_change(change, home));
        assert_eq!(change(&changed("old", Activity::Waiting)), None);
        assert_eq!(
            change(&changed("web", Activity::Waiting)).unwrap(),
            "web waits for you: permission\\nprompt in ~/web"
        );
        assert_eq!(change(&changed("web", Activity::Waiting)), None);
        assert_eq!(change(&Watched::PeerRenamed { former: name("web"), name: name("shop") }), None);
        assert_eq!(change(&changed("shop", Activity::Waiting)), None);
        assert_eq!(change(&changed("shop", Activity::Idle)), None);
        assert!(change(&changed("shop", Activity::Waiting)).is_some());
    }

    #[test]
    fn session_that_comes_back_to_another_hub_is_no_news() {
        let mut desk = Desk::new(&state(false, vec![peer("web", Activity::Waiting), peer("gone", Activity::Waiting)]));
        assert_eq!(desk.handle_state(&state(true, Vec::new()), None), []);
        let web = Watched::PeerCame { peer: peer("web", Activity::Waiting) };
        assert_eq!(desk.handle_change(&web, None), None);
        assert_eq!(desk.handle_state(&state(false, vec![peer("web", Activity::Waiting)]), None), []);
        let gone = Watched::PeerCame { peer: peer("gone", Activity::Waiting) };
        assert!(desk.handle_change(&gone, None).is_some());
    }

    #[test]
    fn own_ask_is_news_when_it_ends_and_no_other_is() {
        let mut desk = Desk::new(&state(false, Vec::new()));
        let mut change = |change: &Watched| told(desk.handle_change(change, None));
        assert_eq!(change(&ended(1, SHELL, None, AskOutcome::Reply)).unwrap(), "web: answered after 4.2s");
        assert_eq!(change(&ended(2, SHELL, None, AskOutcome::Withdrawn)), None);
        assert_eq!(change(&ended(3, "backend", None, AskOutcome::Reply)), None);
    }

    #[test]
    fn own_broadcast_that_was_withdrawn_or_ended_unseen_is_no_news() {
        let mut desk = Desk::new(&state(false, Vec::new()));
        assert_eq!(desk.handle_change(&Watched::AskOpened(opened(1)), None), None);
        assert_eq!(desk.handle_change(&ended(1, SHELL, Some(9), AskOutcome::Withdrawn), None), None);
        assert_eq!(desk.handle_change(&Watched::AskOpened(opened(2)), None), None);
        assert_eq!(desk.handle_state(&state(false, Vec::new()), None), []);
        assert!(desk.broadcasts.is_empty());
    }

    #[test]
    fn own_broadcast_is_news_once_with_its_tally() {
        let mut desk = Desk::new(&state(false, Vec::new()));
        let mut change = |change: &Watched| told(desk.handle_change(change, None));
        for ask in 1..=2 {
            assert_eq!(change(&Watched::AskOpened(opened(ask))), None);
        }
        assert_eq!(change(&ended(1, SHELL, Some(9), AskOutcome::Reply)), None);
        assert_eq!(
            change(&ended(2, SHELL, Some(9), AskOutcome::Timeout)).unwrap(),
            "your broadcast has ended: 1 of 2 answered"
        );
    }
}
