//! The hub's rules, one story each: who says what, and who hears what.

mod asking;
mod limits;
mod naming;
mod refusals;
mod settling;
