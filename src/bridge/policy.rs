//! What another machine may do here, and what it is told of our sessions. Pure: decided from the machine's file and from
//! Claude Code's own settings, of which the stricter holds.

use super::machine::{Machine, Pattern, Share, TheyMay};
use super::rights::{Decision, Policy, Rights};
use crate::agent::claude_code::Inbound;
use crate::protocol::{ErrorCode, MachineName, PeerView, Presence, Refusal, RemoteSession};

/// The rights of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRights {
    machine: Machine,
    inbound: Inbound,
}

impl MachineRights {
    /// Returns what a machine may do; `inbound` is what Claude Code is told to do with other sessions' messages.
    pub const fn new(machine: Machine, inbound: Inbound) -> Self {
        Self { machine, inbound }
    }

    /// Returns what it may do: the stricter of the two.
    const fn effective(&self) -> TheyMay {
        match (self.machine.they_may, self.inbound) {
            (TheyMay::Ask | TheyMay::Hold, Inbound::Refuse) => TheyMay::Reply,
            (TheyMay::Ask, Inbound::Hold) => TheyMay::Hold,
            (they_may, _) => they_may,
        }
    }

    fn includes(&self, name: &str) -> bool {
        let fits = |patterns: &Vec<Pattern>| patterns.iter().any(|pattern| pattern.fits(name));
        self.machine.sessions.as_ref().is_none_or(fits)
    }
}

impl Policy for MachineRights {
    fn decide(&self, to: &str) -> Decision {
        let name = &self.machine.name;
        match self.effective() {
            TheyMay::Ask | TheyMay::Hold if !self.includes(to) => Decision::Refuse(only_some(name, to)),
            TheyMay::Ask => Decision::Take,
            TheyMay::Hold => Decision::Hold,
            TheyMay::Reply if self.machine.they_may != TheyMay::Reply => Decision::Refuse(refused_by_agent()),
            TheyMay::Reply | TheyMay::Nothing => Decision::Refuse(only_reply(name)),
        }
    }
}

impl Rights for MachineRights {
    fn export(&self, session: &PeerView) -> Option<RemoteSession> {
        // A session of a third machine is that machine's to show.
        let is_own = session.machine.is_none() && session.name.machine().is_none();
        let is_shown = self.machine.they_may != TheyMay::Nothing && self.machine.share != Share::Nothing;
        if !is_own || !is_shown || !self.includes(session.name.as_str()) {
            return None;
        }
        let tells_all = self.machine.share == Share::All;
        let presence = Presence {
            cwd: if tells_all { session.presence.cwd.clone() } else { String::new() },
            ..session.presence.clone()
        };
        Some(RemoteSession {
            id: session.tag?,
            name: session.name.clone(),
            agent: session.agent.clone(),
            client: session.client.clone().filter(|_| tells_all),
            presence,
        })
    }

    fn may_answer(&self) -> bool {
        self.machine.they_may != TheyMay::Nothing
    }

    fn may(&self) -> &'static str {
        self.effective().as_str()
    }
}

/// `name` is the asking machine, by its name here: its person reads this there.
fn only_reply(name: &MachineName) -> Refusal {
    not_allowed(
        format!("that machine does not let {name} ask its sessions"),
        format!("its person can allow it there: relayctl machines allow {name}"),
    )
}

fn only_some(name: &MachineName, to: &str) -> Refusal {
    not_allowed(
        format!("that machine lets {name} ask only some of its sessions, and {to} is none of them"),
        format!("its person can allow it there: relayctl machines allow {name} --sessions {to}"),
    )
}

fn refused_by_agent() -> Refusal {
    not_allowed(
        "Claude Code's settings on that machine refuse messages from other sessions (crossSessionInbound)".to_owned(),
        "its person can allow it there, in Claude Code's settings".to_owned(),
    )
}

fn not_allowed(message: String, next: String) -> Refusal {
    Refusal::new(ErrorCode::NotAllowed, message, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Activity, OpenAsks, PeerName, SessionId, Wake};

    const MAY: [TheyMay; 4] = [TheyMay::Ask, TheyMay::Hold, TheyMay::Reply, TheyMay::Nothing];
    const SHARE: [Share; 3] = [Share::All, Share::Names, Share::Nothing];
    const INBOUND: [Inbound; 3] = [Inbound::Accept, Inbound::Hold, Inbound::Refuse];

    fn rights(they_may: TheyMay, share: Share, inbound: Inbound, sessions: Option<&[&str]>) -> MachineRights {
        let sessions = sessions.map(|all| all.iter().map(|text| Pattern::parse(text).unwrap()).collect());
        let machine =
            Machine { they_may, share, sessions, ..Machine::new(MachineName::parse("laptop").unwrap(), None) };
        MachineRights::new(machine, inbound)
    }

    fn session(name: &str) -> PeerView {
        PeerView {
            name: PeerName::try_from(name.to_owned()).unwrap(),
            tag: Some(SessionId { pid: 1, start: 1, thread: None }.tag()),
            machine: None,
            pid: Some(4711),
            agent: "claude-code".into(),
            client: Some("claude-code 2.1.330".into()),
            reachable: None,
            presence: Presence {
                cwd: "/home/ada/secret".into(),
                branch: Some("main".into()),
                status: Activity::Waiting,
                waiting_for: Some("permission prompt".into()),
                wakes_by: Wake::Channel,
            },
            status_s: 1,
            connected_s: 2,
            open_asks: OpenAsks::default(),
        }
    }

    fn word(decision: &Decision) -> String {
        match decision {
            Decision::Take => "take".to_owned(),
            Decision::Hold => "hold".to_owned(),
            Decision::Refuse(refusal) => {
                assert_eq!(refusal.code, ErrorCode::NotAllowed);
                format!("refuse: {} -> {}", refusal.message, refusal.next)
            }
        }
    }

    #[test]
    fn the_stricter_of_file_and_agent_holds() {
        let mut table = String::new();
        for they_may in MAY {
            for inbound in INBOUND {
                let rights = rights(they_may, Share::Names, inbound, None);
                let decision = word(&rights.decide("backend"));
                table += &format!("{} {inbound:?}: {} {decision}\n", they_may.as_str(), rights.may());
            }
        }
        insta::assert_snapshot!(table, @"
        ask Accept: ask take
        ask Hold: hold hold
        ask Refuse: reply refuse: Claude Code's settings on that machine refuse messages from other sessions (crossSessionInbound) -> its person can allow it there, in Claude Code's settings
        hold Accept: hold hold
        hold Hold: hold hold
        hold Refuse: reply refuse: Claude Code's settings on that machine refuse messages from other sessions (crossSessionInbound) -> its person can allow it there, in Claude Code's settings
        reply Accept: reply refuse: that machine does not let laptop ask its sessions -> its person can allow it there: relayctl machines allow laptop
        reply Hold: reply refuse: that machine does not let laptop ask its sessions -> its person can allow it there: relayctl machines allow laptop
        reply Refuse: reply refuse: that machine does not let laptop ask its sessions -> its person can allow it there: relayctl machines allow laptop
        nothing Accept: nothing refuse: that machine does not let laptop ask its sessions -> its person can allow it there: relayctl machines allow laptop
        nothing Hold: nothing refuse: that machine does not let laptop ask its sessions -> its person can allow it there: relayctl machines allow laptop
        nothing Refuse: nothing refuse: that machine does not let laptop ask its sessions -> its person can allow it there: relayctl machines allow laptop
        ");
    }

    #[test]
    fn sessions_that_are_not_named_are_neither_asked_nor_shown() {
        for they_may in MAY {
            for share in SHARE {
                for inbound in INBOUND {
                    let some = rights(they_may, share, inbound, Some(&["docs-*", "api"]));
                    for hidden in ["backend", "docs", "api-2"] {
                        assert!(matches!(some.decide(hidden), Decision::Refuse(_)), "{some:?} {hidden}");
                        assert_eq!(some.export(&session(hidden)), None, "{some:?} {hidden}");
                    }
                    let all = rights(they_may, share, inbound, None);
                    for named in ["docs-a", "api"] {
                        assert_eq!(some.decide(named), all.decide(named));
                        assert_eq!(some.export(&session(named)), all.export(&session(named)));
                    }
                    let none = rights(they_may, share, inbound, Some(&[]));
                    assert_eq!(none.export(&session("api")), None);
                }
            }
        }
        let some = rights(TheyMay::Ask, Share::Names, Inbound::Accept, Some(&["docs-*"]));
        insta::assert_snapshot!(word(&some.decide("backend")), @"refuse: that machine lets laptop ask only some of its sessions, and backend is none of them -> its person can allow it there: relayctl machines allow laptop --sessions backend");
    }

    #[test]
    fn what_is_told_of_a_session_is_what_is_shared() {
        for they_may in MAY {
            for inbound in INBOUND {
                let told = |share| rights(they_may, share, inbound, None).export(&session("backend"));
                assert_eq!(told(Share::Nothing), None);
                if they_may == TheyMay::Nothing {
                    assert_eq!((told(Share::Names), told(Share::All)), (None, None));
                    continue;
                }
                let (names, all) = (told(Share::Names).unwrap(), told(Share::All).unwrap());
                assert_eq!((names.presence.cwd.as_str(), names.client), ("", None));
                assert_eq!((all.presence.cwd.as_str(), all.client.is_some()), ("/home/ada/secret", true));
                assert_eq!((names.presence.branch.as_deref(), names.agent.as_str()), (Some("main"), "claude-code"));
            }
        }
    }

    #[test]
    fn a_session_of_another_machine_is_never_shown_again() {
        let third = PeerView { machine: Some(MachineName::parse("third").unwrap()), ..session("api@third") };
        let unmarked = session("api@third");
        for share in SHARE {
            let rights = rights(TheyMay::Ask, share, Inbound::Accept, None);
            assert_eq!((rights.export(&third), rights.export(&unmarked)), (None, None));
        }
    }
}
