//! How texts stand in a machine's file. Pure.

/// Returns a text as TOML has it: as JSON, in which no control character stands, since none is let in.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns texts as a list of TOML's.
pub(super) fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(quoted).collect::<Vec<_>>().join(", "))
}
