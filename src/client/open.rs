//! What is open for a session, as it is listed to it.

use serde::Serialize;

use super::call::MessageId;
use crate::protocol::{AskId, AskState};

/// The asks that are open for a session now, those first whose deadlines come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenAsksView {
    /// Those that wait for its reply.
    pub received: Vec<OpenReceivedView>,
    /// Those whose outcome it waits for.
    pub sent: Vec<OpenSentView>,
}

/// An ask that waits for the session's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenReceivedView {
    /// The ask.
    pub ask_id: AskId,
    /// Who asks.
    pub from: String,
    /// The beginning of the text; none where the whole text is still to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// How long the asker still waits, in seconds.
    pub left_s: u64,
}

/// An ask or a tell of the session's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenSentView {
    /// Which.
    #[serde(flatten)]
    pub id: MessageId,
    /// Who is asked.
    pub to: String,
    /// How far it has come.
    pub state: AskState,
    /// How long the session still waits, in seconds.
    pub left_s: u64,
}
