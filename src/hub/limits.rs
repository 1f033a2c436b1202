//! What a client may make the hub hold or do: named limits with their defaults.

use std::time::Duration;

/// The hub's limits. Each is an option `NAME=VALUE` of the hub; size bounds cannot be switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u64,
    /// Open asks that one client may have sent, and that one peer may have received.
    pub open_asks: u64,
    /// Bytes of questions that the hub holds for sessions that have not taken them yet, as many again of replies, and of
    /// values that sessions have parked. One client's share is a third: [`SHARES`].
    pub held_bytes: u64,
    /// Bytes that wait for one connection, in its queue and with the rules, before its reader counts as too slow.
    pub queued_bytes: u64,
    /// Whether the rate of asks is limited: [`PAIR_RATE`], [`SHELL_RATE`] and [`CLIENT_RATE`].
    pub rate: bool,
    /// Whether loops of asks are stopped.
    pub loops: bool,
}

/// How long a connection must have taken nothing, while more than `queued_bytes` wait for it, before it is cut.
pub const STUCK_WAIT: Duration = Duration::from_secs(2);

/// The most bytes that wait to be written to all connections together. Beyond it the one with the longest queue is cut.
pub const QUEUED_TOTAL_MAX: usize = 32 * 1024 * 1024;

/// The most bytes of unfinished frames of all connections together. Beyond it the one is closed whose frame has been
/// unfinished for the longest.
pub const FRAMES_TOTAL_MAX: usize = 16 * 1024 * 1024;

/// The longest address, in bytes.
pub const ADDRESS_MAX_BYTES: usize = 1024;

/// The most addresses in a broadcast.
pub const ADDRESSES_MAX: usize = 256;

/// The most bytes that are kept of a session's folder.
pub const CWD_MAX_BYTES: usize = 1024;

/// The most bytes that are kept of any other fact that a client says of itself: its program, agent, branch.
pub const FACT_MAX_BYTES: usize = 256;

/// How many times `open_asks` may be open in all.
pub const OPEN_ASKS_FACTOR: u64 = 32;

/// The most connections that watch: each is sent a copy of every event.
pub const WATCHERS_MAX: usize = 32;

/// The most broadcasts of one client that wait for the end of the grace period. Each is answered with a list of all peers.
pub const BROADCASTS_WAITING_MAX: usize = 16;

/// How often something may happen: `burst` at once, then one an `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many may come at once.
    pub burst: u32,
    /// The time that one of them costs.
    pub interval: Duration,
}

/// The rate of asks between two clients, both directions together.
///
/// Ordinary use of a pair is at most one ask every two seconds and one broadcast every ten from either side, which is
/// 1.2 a second; twice that never meets the limit. A storm is stopped at the burst.
pub const PAIR_RATE: Rate = Rate { burst: 40, interval: Duration::from_millis(400) };

/// The rate of the shell's asks to one session. Every run of `relayctl` is a client of its own for a moment, so they are
/// counted together: the terminals, hooks, cron and CI jobs of the person.
///
/// Ordinary use in parallel is a hundred jobs that each wait for an answer, and a session answers one in seconds. So 256
/// at once and ten a second from then on are more than any session can answer, and stop a script that asks in a loop
/// without waiting within some three seconds: it starts a hundred `relayctl` a second.
pub const SHELL_RATE: Rate = Rate { burst: 256, interval: Duration::from_millis(100) };

/// The rate of one session's asks to everybody together, and of the shell's. A broadcast to the most peers that fit fits
/// into the burst; from then on it is one a second to twenty sessions.
pub const CLIENT_RATE: Rate = Rate { burst: 2048, interval: Duration::from_millis(50) };

/// How many clients' shares make `held_bytes`: one client alone never fills it.
pub const SHARES: u64 = 3;

/// How many times `held_bytes` a hub holds in its grace period of what was sent to a former hub already. That one held a
/// question only until the asked session had it; its asker sends it again in any case, and what a hub has accepted is not
/// refused by the next one because of its size.
pub const RETURNING_FACTOR: u64 = 3;

/// How often a chain of asks may go round the same ring of sessions, where the ring is small.
pub const RING_ROUNDS_MAX: usize = 8;

/// How often it must have gone round at least before a larger ring counts as one. With [`CHAIN_MAX`] this leaves out rings
/// of ten: ten sessions that each ask their neighbour are ordinary use.
pub const RING_ROUNDS_MIN: usize = 6;

/// How many asks of a chain are looked at, and how many may follow on one another where none is answered.
pub const CHAIN_MAX: usize = 59;

/// How long an ask that was answered or has ended still counts as what made its receiver ask.
pub const CAUSE_MEMORY: Duration = Duration::from_secs(60);

/// So many asks may follow from one cause at once, or [`CAUSE_ASKS_EACH`] for each session where that is more.
pub const CAUSE_ASKS: u64 = 28;

/// How many asks for each session may follow from one cause at once. One more for each session may follow in each second
/// since: ordinary use, an ask every two seconds from each, makes a little more than half of that.
pub const CAUSE_ASKS_EACH: u64 = 2;

/// So many broadcasts may follow from one cause [`AT_ONCE`]: with the first one and its first echo, five among twelve
/// sessions are 55 asks.
pub const CAUSE_BROADCASTS_AT_ONCE: u64 = 3;

/// How long a cause lets only [`CAUSE_BROADCASTS_AT_ONCE`] follow.
pub const AT_ONCE: Duration = Duration::from_millis(200);

/// So many broadcasts may follow from one cause after that, or [`CAUSE_BROADCASTS_EACH`] for each session where that is
/// more.
pub const CAUSE_BROADCASTS: u64 = 8;

/// How many broadcasts for each session may follow from one cause, and again in each [`CAUSE_BROADCASTS_TIME`] since: twice
/// as many as ordinary use makes, one from each.
pub const CAUSE_BROADCASTS_EACH: u64 = 2;

/// See [`CAUSE_BROADCASTS_EACH`].
pub const CAUSE_BROADCASTS_TIME: Duration = Duration::from_secs(10);

/// How long nothing may try to follow from a cause whose budget is used up before something is let through again: the asks
/// that were let through may still lead to others.
pub const CAUSE_QUIET: Duration = Duration::from_secs(60);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            open_asks: 1024,
            held_bytes: 16 * 1024 * 1024,
            queued_bytes: 4 * 1024 * 1024,
            rate: true,
            loops: true,
        }
    }
}

/// Says why a text sets no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The text is not `NAME=VALUE`.
    #[error("{0:?} is not NAME=VALUE")]
    NotAPair(String),
    /// No limit has this name.
    #[error("no limit is named {0:?}; there are connections, open_asks, held_bytes, queued_bytes, rate and loop")]
    UnknownName(String),
    /// The value is out of bounds.
    #[error("{value:?} is no value of the limit {name}: it takes {wanted}")]
    BadValue {
        /// The limit.
        name: String,
        /// What was given.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
}

impl Limits {
    /// Sets one limit from `NAME=VALUE`.
    ///
    /// # Errors
    /// The name is unknown or the value out of bounds; nothing is changed.
    pub fn set(&mut self, pair: &str) -> Result<(), LimitError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| LimitError::NotAPair(pair.to_owned()))?;
        let bad = |wanted| LimitError::BadValue { name: name.to_owned(), value: value.to_owned(), wanted };
        let number = || value.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad("a number of at least 1"));
        let switch = || match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(bad("on or off")),
        };
        match name {
            "connections" => self.connections = number()?,
            "open_asks" => self.open_asks = number()?,
            "held_bytes" => self.held_bytes = number()?,
            "queued_bytes" => self.queued_bytes = number()?,
            "rate" => self.rate = switch()?,
            "loop" => self.loops = switch()?,
            _ => return Err(LimitError::UnknownName(name.to_owned())),
        }
        Ok(())
    }

    /// Sets the limits of a list `NAME=VALUE,…`; empty parts are passed over.
    ///
    /// # Errors
    /// The first part that sets no limit; those before it are set.
    pub fn set_all(&mut self, list: &str) -> Result<(), LimitError> {
        list.split(',').map(str::trim).filter(|pair| !pair.is_empty()).try_for_each(|pair| self.set(pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_from_a_list() {
        let mut limits = Limits::default();
        limits.set_all("rate=off, loop=off,open_asks=1000000,").unwrap();
        assert_eq!(limits, Limits { rate: false, loops: false, open_asks: 1_000_000, ..Limits::default() });
        limits.set_all("connections=1,open_asks=2,held_bytes=3,queued_bytes=4,rate=on,loop=on").unwrap();
        let all = Limits { connections: 1, open_asks: 2, held_bytes: 3, queued_bytes: 4, rate: true, loops: true };
        assert_eq!(limits, all);
    }

    #[test]
    fn limits_name_what_is_wrong_with_a_setting() {
        let error = |text: &str| Limits::default().set(text).unwrap_err().to_string();
        assert_eq!(error("rate"), "\"rate\" is not NAME=VALUE");
        assert_eq!(
            error("speed=1"),
            "no limit is named \"speed\"; there are connections, open_asks, held_bytes, queued_bytes, rate and loop"
        );
        assert_eq!(error("rate=maybe"), "\"maybe\" is no value of the limit rate: it takes on or off");
        assert_eq!(error("open_asks=0"), "\"0\" is no value of the limit open_asks: it takes a number of at least 1");
    }
}
