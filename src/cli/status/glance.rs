//! What a person sees of the status: one sentence in words and colour, the sessions, and the details if they are wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};

use super::{HubView, Report};
use crate::cli::output::{Line, visible_line};
use crate::cli::peers::{doing_there, status as activity};
use crate::cli::wording;
use crate::protocol::{Activity, MachineView, PeerView, Status, VersionRange, Wake};

/// How many sessions are listed before the rest is counted.
const LISTED_MAX: usize = 8;

/// Returns what a session waits for, if it waits for its user.
const fn waits_for(peer: &PeerView) -> Option<&str> {
    match peer.presence.status {
        Activity::Waiting => Some(match &peer.presence.waiting_for {
            Some(dialog) => dialog.as_str(),
            None => "a dialog",
        }),
        Activity::Idle | Activity::Busy | Activity::Unknown => None,
    }
}

/// Returns the sentence that says it all. `failure` is why no hub answers.
pub(super) fn headline(report: &Report, failure: Option<&str>) -> Line {
    let (Some(hub), None) = (&report.hub, failure) else {
        let red = AnsiColor::Red.on_default().bold();
        let why = failure.unwrap_or("no hub answers");
        return Line::default().styled(red, "✗ relay does not work").plain(&format!(": {}", visible_line(why)));
    };
    let is_linked = hub.status.machines.iter().all(|machine| machine.reachable);
    let is_calm = is_linked && hub.peers.iter().all(|peer| waits_for(peer).is_none() && is_woken(peer));
    let color = if is_calm { AnsiColor::Green } else { AnsiColor::Yellow };
    Line::default().styled(color.on_default().bold(), "● relay works").plain(&format!(": {}", facts(hub).join(", ")))
}

/// Returns the status in one line of few words.
pub(super) fn short(report: &Report) -> Line {
    let text = match &report.hub {
        Some(hub) => {
            let waiting = hub.peers.iter().filter(|peer| waits_for(peer).is_some()).count();
            let mut words = vec![format!("relay {}", hub.peers.len())];
            words.extend((waiting > 0).then(|| format!("{waiting} waiting")));
            words.extend((hub.status.open_asks > 0).then(|| format!("{} open", hub.status.open_asks)));
            words.join(", ")
        }
        None => "relay off".to_owned(),
    };
    Line::of(&text)
}

fn facts(hub: &HubView) -> Vec<String> {
    let peers = &hub.peers;
    if peers.is_empty() {
        return vec!["no session has joined".to_owned()];
    }
    let woken = peers.iter().filter(|peer| is_woken(peer)).count();
    let sessions = wording::count(peers.len(), "session");
    let woken = match woken {
        n if n == peers.len() && n > 1 => "all can be woken".to_owned(),
        n => format!("{n} can be woken"),
    };
    let waiting: Vec<String> =
        peers.iter().filter_map(|peer| Some(format!("{}: {}", peer.name, visible_line(waits_for(peer)?)))).collect();
    let mut facts = vec![sessions, woken];
    match waiting.len() {
        0 => {}
        1 => facts.push(format!("1 waits for you ({})", waiting[0])),
        n => facts.push(format!("{n} wait for you ({})", waiting.join("; "))),
    }
    match hub.status.open_asks {
        0 => {}
        1 => facts.push("1 open ask".to_owned()),
        n => facts.push(format!("{n} open asks")),
    }
    match hub.status.machines.iter().filter(|machine| !machine.reachable).count() {
        0 => {}
        1 => facts.push("1 machine cannot be reached".to_owned()),
        n => facts.push(format!("{n} machines cannot be reached")),
    }
    facts
}

const fn is_woken(peer: &PeerView) -> bool {
    !matches!(peer.presence.wakes_by, Wake::NextPrompt) && !matches!(peer.reachable, Some(false))
}

/// Returns the other machines, a line each.
pub(super) fn machines(machines: &[MachineView]) -> Vec<Line> {
    let line = |machine: &MachineView| {
        let (name, since) = (machine.name.as_str(), wording::rough(machine.since_s));
        let n_sessions = wording::count(usize::try_from(machine.sessions).unwrap_or(usize::MAX), "session");
        let line = Line::of(&format!("  machine {name}  {n_sessions}  "));
        match machine.reachable {
            true => line.plain(&format!("reachable {since}")),
            false => line
                .styled(AnsiColor::Yellow.on_default(), &format!("unreachable {since}: relayctl machines test {name}")),
        }
    };
    machines.iter().map(line).collect()
}

/// Returns the sessions, a line each; what to do where there is none.
pub(super) fn sessions(peers: &[PeerView], machines: &[MachineView]) -> Line {
    if peers.is_empty() {
        return Line::of("  restart your sessions; where they lack the plugin, first: relayctl setup");
    }
    let width = peers.iter().take(LISTED_MAX).map(|peer| peer.name.as_str().chars().count()).max().unwrap_or(0);
    let mut line = Line::default();
    for (n, peer) in peers.iter().take(LISTED_MAX).enumerate() {
        let (start, name) = (if n == 0 { "" } else { "\n" }, peer.name.as_str());
        let pad = " ".repeat(width - name.chars().count());
        line = line.plain(&format!("{start}  {name}{pad}  {:<7}", activity(peer.presence.status)));
        let woken = match peer.reachable {
            Some(false) => doing_there(peer, machines),
            Some(true) | None if is_woken(peer) => "reachable now".to_owned(),
            Some(true) | None => "reachable at its next prompt".to_owned(),
        };
        let style = if is_woken(peer) { Style::new() } else { AnsiColor::Yellow.on_default() };
        line = line.plain("  ").styled(style, &woken);
    }
    let rest = peers.len().saturating_sub(LISTED_MAX);
    if rest > 0 { line.plain(&format!("\n  and {rest} more: relayctl peers")) } else { line }
}

/// Returns the parts, a line each.
pub(super) fn details(report: &Report) -> Line {
    let mut rows = vec![("service", report.service.text()), ("socket", report.socket.display().to_string())];
    if let Some(HubView { status, .. }) = &report.hub {
        let programs: Vec<String> = status.programs.iter().map(|(program, n)| format!("{n} {program}")).collect();
        rows.push(("hub", hub_text(status)));
        rows.push(("connected", format!("{}: {}", status.connections, programs.join(", "))));
        rows.push(("open asks", status.open_asks.to_string()));
        rows.push(("limits", limits_text(&status.refused)));
    }
    let rows: Vec<String> = rows.iter().map(|(label, value)| format!("{label:<11}{value}")).collect();
    Line::of(&rows.join("\n"))
}

fn hub_text(status: &Status) -> String {
    let VersionRange { min, max } = status.versions;
    let versions = if min == max { max.to_string() } else { format!("{min} to {max}") };
    let uptime = wording::exact(Duration::from_secs(status.uptime_s));
    format!("{}, up {uptime}, process {}, protocol {versions}", status.hub, status.pid)
}

fn limits_text(refused: &BTreeMap<String, u64>) -> String {
    let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let reached: Vec<String> = refused.iter().map(|(limit, n)| format!("{limit} {}", times(*n))).collect();
    if reached.is_empty() { "none reached".to_owned() } else { format!("reached: {}", reached.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{peer, report, shown, status};
    use super::*;
    use crate::protocol::{MachineName, PeerName};

    #[test]
    fn the_status_is_a_sentence_a_list_and_details() {
        insta::assert_snapshot!(shown(&report(status()), false), @"
        --- stdout
        ● relay works: 2 sessions, all can be woken, 1 open ask
          backend  idle     reachable now
          web      idle     reachable now
        service    systemd --user; relay.socket is active (listening), enabled; relay.service is inactive (dead)
        socket     /home/ada/.relay/hub.sock
        hub        0.1.0, up 3m 20s, process 4711, protocol 1
        connected  3: 2 relay-channel 0.1.0, 1 relayctl 0.1.0
        open asks  1
        limits     none reached
        --- stderr
        ");
    }

    #[test]
    fn a_machine_that_is_away_is_seen_at_a_glance() {
        let mut report = report(status());
        if let Some(hub) = &mut report.hub {
            let name = |text: &str| MachineName::parse(text).unwrap();
            let desk = MachineView { name: name("desk"), reachable: false, since_s: 40, sessions: 1 };
            let server = MachineView { name: name("server"), reachable: true, since_s: 7_300, sessions: 0 };
            let there = PeerName::try_from("docs@desk".to_owned()).unwrap();
            let docs = PeerView {
                name: there,
                machine: Some(name("desk")),
                reachable: Some(false),
                pid: None,
                ..peer("docs")
            };
            (hub.peers, hub.status.machines) = (vec![peer("backend"), docs], vec![desk, server]);
        }
        insta::assert_snapshot!(shown(&report, false).split("service").next().unwrap(), @"
        --- stdout
        ● relay works: 2 sessions, 1 can be woken, 1 open ask, 1 machine cannot be reached
          backend    idle     reachable now
          docs@desk  idle     unreachable 40s
          machine desk  1 session  unreachable 40s: relayctl machines test desk
          machine server  0 sessions  reachable 2h
        ");
        assert!(shown(&report, true).contains(r#""machines":[{"name":"desk","reachable":false"#));
    }

    #[test]
    fn many_sessions_are_counted_beyond_the_first() {
        let mut report = report(status());
        if let Some(hub) = &mut report.hub {
            hub.peers = (0..11).map(|n| peer(&format!("p{n}"))).collect();
            hub.peers[0].presence.wakes_by = Wake::NextPrompt;
        }
        insta::assert_snapshot!(shown(&report, false).split("service").next().unwrap(), @"
        --- stdout
        ● relay works: 11 sessions, 10 can be woken, 1 open ask
          p0  idle     reachable at its next prompt
          p1  idle     reachable now
          p2  idle     reachable now
          p3  idle     reachable now
          p4  idle     reachable now
          p5  idle     reachable now
          p6  idle     reachable now
          p7  idle     reachable now
          and 3 more: relayctl peers
        ");
        assert_eq!(short(&report).as_str(), "relay 11, 1 open");
    }

    #[test]
    fn limits_that_were_reached_are_named_and_counted() {
        let refused = [("rate".to_owned(), 3), ("loop".to_owned(), 1)].into();
        let text = shown(&report(Status { refused, ..status() }), false);
        assert!(text.contains("limits     reached: loop once, rate 3 times\n"), "{text}");
    }
}
