//! The tables of message kinds: one row a kind, from which everything that differs by kind is made.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Defines one of the four message enums from its table.
///
/// A row is `"type" since VERSION => Variant` or `… => Variant(body: Body)`. The body's members stand beside `type` in the
/// frame.
macro_rules! messages {
    ($(#[$doc:meta])* pub enum $name:ident {
        $($(#[$row:meta])* $kind:literal since $since:literal => $variant:ident $(($body:ident: $type:ty))?,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$row])* $variant $(($type))?,)+
        }

        impl $name {
            /// Every `type` on the wire, with the protocol version that added it.
            pub const KINDS: &[(&str, u32)] = &[$(($kind, $since)),+];

            /// Returns the `type` on the wire.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant $(($body))? => { $(let _ = $body;)? $kind })+ }
            }

            /// Returns the protocol version that added the message: an older side does not know it.
            pub const fn since(&self) -> u32 {
                match self { $(Self::$variant $(($body))? => { $(let _ = $body;)? $since })+ }
            }

            /// Appends the members of the body to a frame that has its `type`.
            pub(crate) fn write_members(&self, out: &mut Vec<u8>) {
                match self { $(Self::$variant $(($body))? => { $($crate::protocol::table::append($body, out);)? })+ }
            }

            /// Reads the message of this kind from the whole frame; none where no message has this `type`.
            pub(crate) fn read(kind: &str, frame: &str) -> Option<Result<Self, serde_json::Error>> {
                match kind {
                    $($kind => Some({
                        $(let $body = $crate::protocol::table::members::<$type>(frame);)?
                        messages!(@made $variant frame $($body)?)
                    }),)+
                    _ => None,
                }
            }
        }
    };
    (@made $variant:ident $frame:ident) => {{ let _ = $frame; Ok(Self::$variant) }};
    (@made $variant:ident $frame:ident $body:ident) => { $body.map(Self::$variant) };
}

/// Makes enums of [`messages`] frames that have a `type` and no id.
macro_rules! frames_without_ids {
    ($($name:ident),+) => {$(
        impl $crate::protocol::Frame for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(b"{\"type\":\"");
                out.extend_from_slice(self.kind().as_bytes());
                out.push(b'"');
                self.write_members(out);
                out.push(b'}');
            }

            fn read(frame: &str) -> Result<Self, serde_json::Error> {
                let kind = $crate::protocol::table::kind_of(frame)?;
                let unknown = || Err(serde::de::Error::custom(format!("no message has the type {kind:?}")));
                Self::read(&kind, frame).unwrap_or_else(unknown)
            }
        }
    )+};
}

pub(crate) use {frames_without_ids, messages};

/// Returns the `type` of a frame.
pub(crate) fn kind_of(frame: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let head: Head<'_> = serde_json::from_str(frame)?;
    Ok(head.kind)
}

/// Reads a body's members from the frame that they stand in.
pub(crate) fn members<T: DeserializeOwned>(frame: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(frame)
}

/// Appends a body's members: its object's, behind a comma instead of its opening brace, and without the closing one.
pub(crate) fn append<T: Serialize>(body: &T, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, body).is_err() || out.get(start) != Some(&b'{') || out.pop() != Some(b'}') {
        // A body is a struct or a map with text keys and `out` takes every byte: there is nothing that could fail.
        out.truncate(start);
    } else if out.len() == start + 1 {
        out.truncate(start);
    } else {
        out[start] = b',';
    }
}
