//! The hub's rules, one story each: who says what, and who hears what.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod asking;
mod audience;
mod grace;
mod limits;
mod naming;
mod ownership;
mod parking;
mod recording;
mod refusals;
mod remote;
mod telling;
mod watching;
