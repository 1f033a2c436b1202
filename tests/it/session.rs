//! The session's own processes: waiter, hooks, plugin, and a channel that is started anew.

mod agent;
mod hook;
mod javascript;
mod plugin;
#[cfg(target_os = "linux")]
mod processes;
mod reconnect;
mod routes;
mod telling;
mod waiter;
