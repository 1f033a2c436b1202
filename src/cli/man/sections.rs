//! What the manual pages say besides the help: examples, variables and files.

/// Something, and what it is for.
pub(super) type Pair = (&'static str, &'static str);

/// The variables, with the programs that read them.
pub(super) const ENVIRONMENT: &[(Pair, &[&str])] = &[
    (
        ("RELAY_SOCKET", "Where the hub listens: an absolute path, in a directory that only you can enter."),
        &["relayctl", "relay-hub", "relay-channel", "relay-bridge"],
    ),
    (
        (
            "RELAY_LOG",
            "What is logged: error, warn, info, debug, trace or off, and after a comma others for parts of the program.",
        ),
        &["relayctl", "relay-hub", "relay-channel", "relay-bridge"],
    ),
    (("RELAY_LOG_TEXT", "With 1 the texts of questions and answers are logged as well."), &["relay-hub"]),
    (("RELAY_LIMITS", "Limits, as with --limit: name=value, with commas between them."), &["relay-hub"]),
    (("RELAY_CHANNEL", "Whether channel events wake the session: on, off or auto."), &["relay-channel"]),
    (("RELAY_ALLOW_TOOLS", "With off the agent asks its user about each call of a relay tool."), &["relay-channel"]),
    (
        ("CLAUDE_PLUGIN_DATA", "The directory below which a session's channel logs; Claude Code sets it."),
        &["relay-channel"],
    ),
    (("NO_COLOR", "If it is set, nothing is coloured."), &["relayctl"]),
];

/// The files of all programs.
pub(super) const FILES: &[Pair] = &[
    (
        "/run/user/UID/relay/hub.sock",
        "The hub's socket; without a user's service manager ~/.relay/hub.sock, on macOS ~/Library/Application Support/relay/hub.sock.",
    ),
    (
        "~/.config/systemd/user/relay.socket, relay.service",
        "The service; on macOS ~/Library/LaunchAgents/dev.claude-relay.hub.plist.",
    ),
    (
        "~/.config/relay/machines/MACHINE.toml",
        "What is decided about each other machine, as relayctl machines writes it.",
    ),
    ("~/.local/share/claude-relay", "The plugins of the agents, as relayctl setup puts them there."),
    (
        "~/.local/state/relay/relay-YYYY-MM-DD.log",
        "The log of a hub that no service manager has started; on macOS ~/Library/Logs/relay.",
    ),
];

/// Returns the examples of a page.
pub(super) fn examples(page: &str) -> Vec<Pair> {
    EXAMPLES.iter().filter(|(of, _)| *of == page).map(|(_, pair)| *pair).collect()
}

/// The examples, by page.
const EXAMPLES: &[(&str, Pair)] = &[
    ("relayctl", ("relayctl setup", "Install the service and the plugins.")),
    ("relayctl", ("relayctl board", "See all sessions, and who waits for you.")),
    ("relayctl", ("relayctl ask backend is the build green", "Ask the session backend and wait for its answer.")),
    ("relayctl-demo", ("relayctl demo", "See two sessions talk, without any agent.")),
    ("relayctl-setup", ("relayctl setup --dry-run", "See what setup would do.")),
    ("relayctl-hub", ("relayctl hub start", "Start a hub where no service manager is, as in a container.")),
    ("relayctl-hub-start", ("relayctl hub start", "Start a hub in the background.")),
    ("relayctl-hub-stop", ("relayctl hub stop", "End it.")),
    ("relayctl-install-service", ("relayctl install-service --dry-run", "See every step and file first.")),
    ("relayctl-uninstall-service", ("relayctl uninstall-service", "Remove the service.")),
    ("relayctl-status", ("relayctl status --short", "One line for a shell's prompt.")),
    ("relayctl-peers", ("relayctl peers", "List the sessions that can be asked.")),
    ("relayctl-peers", ("relayctl peers --json | jq -r .peers[].name", "Their names, for a script.")),
    (
        "relayctl-ask",
        ("relayctl ask backend is the build green", "Quotes are needed only for what the shell would read itself."),
    ),
    (
        "relayctl-ask",
        (
            "git diff | relayctl ask backend --timeout 5m -",
            "Ask with a text from standard input, and wait five minutes.",
        ),
    ),
    ("relayctl-ask", ("relayctl ask web,api \"do your tests pass?\"", "Ask some; the answers as they come.")),
    ("relayctl-tell", ("relayctl tell backend the build is green", "Say something that wants no answer.")),
    ("relayctl-tell", ("make 2>&1 | tail | relayctl tell backend -", "Tell what a command has printed.")),
    ("relayctl-wait", ("relayctl wait backend --idle --timeout 10m", "Wait until a session has ended its turn.")),
    ("relayctl-broadcast", ("relayctl broadcast --in ~/src/shop --list", "See who would be asked.")),
    ("relayctl-broadcast", ("relayctl broadcast \"what are you working on?\"", "Ask everybody.")),
    ("relayctl-watch", ("relayctl watch --text", "See every question and answer as it comes.")),
    (
        "relayctl-watch",
        (
            "relayctl watch --exec \"jq -r .what >> /tmp/changes\"",
            "Run a command for each change, which is JSON on its standard input.",
        ),
    ),
    ("relayctl-board", ("relayctl board", "Look at all sessions; ? shows the keys.")),
    ("relayctl-board", ("relayctl board --once", "Print it once, for a script.")),
    (
        "relayctl-history",
        ("relayctl history --since 2h --with backend", "What backend asked and was asked in the last two hours."),
    ),
    ("relayctl-history", ("relayctl history --summary --since 2026-02-28", "Who asked whom how often, day by day.")),
    ("relayctl-machines", ("relayctl machines", "See your other machines, and how their links stand.")),
    (
        "relayctl-machines-add",
        ("relayctl machines add desk --ssh me@desk", "Link with a machine that you can log in to."),
    ),
    (
        "relayctl-machines-add",
        ("relayctl machines add box --exec docker exec -i box relay-bridge stdio", "Link with a container."),
    ),
    (
        "relayctl-machines-test",
        ("relayctl machines test desk", "Try each step, and see what mends the first that fails."),
    ),
    (
        "relayctl-machines-allow",
        ("relayctl machines allow desk --sessions \"backend,docs-*\"", "Let it ask these sessions, and see no others."),
    ),
    ("relayctl-machines-hold", ("relayctl machines hold desk", "Let each of its asks wait for you.")),
    ("relayctl-machines-refuse", ("relayctl machines refuse desk", "Let it do nothing here.")),
    ("relayctl-machines-pause", ("relayctl machines pause desk", "Take the link down.")),
    ("relayctl-machines-resume", ("relayctl machines resume desk", "Take it up again.")),
    ("relayctl-machines-remove", ("relayctl machines remove desk", "Forget it, and cut its link.")),
    ("relayctl-machines-release", ("relayctl machines release desk", "Let all asks through that were held.")),
    (
        "relayctl-machines-key",
        (
            "relayctl machines key laptop --key laptop.pub",
            "The line of ~/.ssh/authorized_keys that lets the laptop's key link, and do nothing else.",
        ),
    ),
    ("relayctl-logs", ("relayctl logs --follow", "See what the hub logs from now on.")),
    ("relayctl-doctor", ("relayctl doctor --fix", "Repair what can be repaired without losing anything.")),
    (
        "relayctl-completions",
        (
            "relayctl completions bash > ~/.local/share/bash-completion/completions/relayctl",
            "Complete commands and names of sessions in bash.",
        ),
    ),
    ("relayctl-man", ("relayctl man --out ~/.local/share/man/man1", "Write all pages to where man looks.")),
    (
        "relay-hub",
        (
            "relay-hub --idle-timeout 5m",
            "Serve in the foreground, and leave when nobody has been there for five minutes.",
        ),
    ),
    ("relay-bridge", ("relay-bridge", "Link with other machines, where no service manager runs it.")),
    ("relay-bridge-stdio", ("relay-bridge stdio --as laptop", "What another machine runs here over ssh.")),
    ("relay-channel", ("relay-channel", "What an agent starts; a person has no use for it.")),
    ("relay-channel-wait", ("relay-channel wait", "What the plugin's hooks start.")),
    ("relay-channel-hook", ("relay-channel hook", "What the plugin's hooks start.")),
    (
        "relay-channel-socket",
        ("relay-channel socket 4711", "What an agent's own extension starts to find its session."),
    ),
    ("relay-channel-allow", ("relay-channel allow", "What the plugin's hooks start.")),
];
