//! What a message is, as names with texts: the meta of a channel event and the attributes of an envelope. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// Names with texts, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct Meta(Vec<(Cow<'static, str>, String)>);

impl Meta {
    /// Adds a name with its text, or gives one that is there another text.
    pub fn insert(&mut self, name: &'static str, text: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = text,
            None => self.0.push((name.into(), text)),
        }
    }

    /// Returns the text of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, text)| text)
    }

    /// Returns the names with their texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_ref(), text.as_str()))
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Passes over what is no text.
impl From<Map<String, Value>> for Meta {
    fn from(members: Map<String, Value>) -> Self {
        let text = |(name, value)| if let Value::String(text) = value { Some((Cow::Owned(name), text)) } else { None };
        Self(members.into_iter().filter_map(text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_read_as_it_was_written() {
        let mut meta = Meta::default();
        for (name, text) in [("kind", "ask"), ("from", "web"), ("kind", "reply")] {
            meta.insert(name, text.to_owned());
        }
        let json = serde_json::to_string(&meta).unwrap();
        assert_eq!(
            (json.as_str(), meta.get("from"), meta.get("code")),
            (r#"{"kind":"reply","from":"web"}"#, Some("web"), None)
        );
        assert_eq!(serde_json::from_str::<Meta>(&json).unwrap(), meta);
        assert_eq!(serde_json::from_str::<Meta>(r#"{"kind":"reply","n":1,"from":"web"}"#).unwrap(), meta);
    }
}
