//! A second relay server of the session: it hands its tool calls to the first one.
