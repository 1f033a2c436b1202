//! What an exchange wants done.

use crate::bridge::frame::LinkMessage;
use crate::protocol::{ClientMessage, ClientTag, Hello};

/// Names a stand-in: the session of the other machine, by its tag there; none for that machine's shell.
pub type StandIn = Option<ClientTag>;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this on the link.
    Say(LinkMessage),
    /// Connect to the hub, and again whenever the connection is lost, and begin with this hello; tell by
    /// [`Exchange::handle_welcome`](super::Exchange::handle_welcome) when the hub has welcomed it.
    Connect(StandIn, Box<Hello>),
    /// Write this to the hub.
    Tell(StandIn, ClientMessage),
    /// Say bye and close: the session has gone.
    Leave(StandIn),
}
