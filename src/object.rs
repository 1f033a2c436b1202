//! A JSON object of a few members, such as the arguments of a tool call: a list, which costs a call less than a hash table.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The members of an object in the order in which they came. Each key is there once: of two the later counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// Returns the value of a member.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }

    /// Takes a member out, and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(found, _)| found == key)?;
        Some(self.0.remove(at).1)
    }

    /// Returns the keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    fn insert(&mut self, key: String, value: Value) {
        match self.0.iter_mut().find(|(found, _)| *found == key) {
            Some((_, earlier)) => *earlier = value,
            None => self.0.push((key, value)),
        }
    }
}

impl FromIterator<(String, Value)> for Object {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(members: T) -> Self {
        let mut object = Self::default();
        members.into_iter().for_each(|(key, value)| object.insert(key, value));
        object
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = members.next_entry()? {
                    object.insert(key, value);
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn object_keeps_its_members_in_order_and_the_later_of_two() {
        let mut object: Object = serde_json::from_str(r#"{"b":1,"a":{"c":[]},"b":null}"#).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"b":null,"a":{"c":[]}}"#);
        assert_eq!(object.get("a"), Some(&json!({"c": []})));
        assert_eq!((object.remove("b"), object.remove("b")), (Some(Value::Null), None));
        assert_eq!(object.keys().collect::<Vec<_>>(), ["a"]);
        assert!(serde_json::from_str::<Object>("[]").is_err());
    }
}
