//! What was ever said on the wire must still be understood: samples are added, and never changed.

use relay::protocol::codec::{decode, encode};
use relay::protocol::{ClientMessage, HubMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads each line, says it again, and reads that: nothing of it may be lost.
fn assert_understood<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(samples: &str) {
    for sample in samples.lines() {
        let message: T = decode(sample.as_bytes()).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let mut said = Vec::new();
        encode(&message, &mut said);
        let again: T = decode(&said).unwrap();
        assert_eq!(again, message, "{sample}");
        let newer = sample.replacen('{', r#"{"a_member_of_the_future":[{"x":1}],"#, 1);
        assert_eq!(decode::<T>(newer.as_bytes()).unwrap(), message, "unknown members are passed over");
    }
}

#[test]
fn the_messages_of_every_version_are_understood() {
    for client in [include_str!("samples/v1/client.jsonl"), include_str!("samples/v2/client.jsonl")] {
        assert_understood::<ClientMessage>(client);
    }
    for hub in [include_str!("samples/v1/hub.jsonl"), include_str!("samples/v2/hub.jsonl")] {
        assert_understood::<HubMessage>(hub);
    }
}
