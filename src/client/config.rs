//! What a client needs to know to connect and to say who it is.

use std::path::PathBuf;

use crate::protocol::ClientKind;

/// What a client needs to know to connect and to say who it is.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The hub's socket.
    pub socket: PathBuf,
    /// What names it, an option or a variable; none where it is the service's.
    pub named_by: Option<&'static str>,
    /// The program and its version, for people.
    pub program: String,
    /// What the client is.
    pub kind: ClientKind,
}
