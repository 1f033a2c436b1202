//! Events as lines, one JSON object each.

use std::fmt;
use std::io::Write as _;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

/// The room of a line: most fit, so that it does not grow piece by piece.
const LINE_ROOM: usize = 512;

/// Writes each event with one call: its time in UTC, its level, its message and fields, and the part of the program that
/// logged it.
pub(super) struct JsonLines<W>(pub(super) W);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line(Vec::with_capacity(LINE_ROOM));
        line.0.push(b'{');
        line.add("timestamp", &Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true));
        line.add("level", metadata.level().as_str());
        event.record(&mut line);
        line.add("target", metadata.target());
        line.0.extend_from_slice(b"}\n");
        // There is nobody to whom a log that cannot be written could be told.
        let _unwritten = self.0.make_writer_for(metadata).write_all(&line.0);
    }
}

/// A line that is being made.
struct Line(Vec<u8>);

impl Line {
    fn add(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        // Texts and numbers can always be written, and a vector takes them.
        let _written = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        let _written = serde_json::to_writer(&mut self.0, value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), &value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_fields_beside_its_message() {
        let written = Written::default();
        let out = written.clone();
        let subscriber = tracing_subscriber::registry().with(JsonLines(move || out.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let (quoted, none) = ("a \"b\"\n", None::<u64>);
            tracing::warn!(target: "part", quoted, shown = %7, seen = ?Some(1), less = -1, is_there = true, none, "{}!", "said");
        });
        let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!((line.matches('\n').count(), line.ends_with("}\n")), (1, true), "{line}");
        let mut line: Value = serde_json::from_str(&line).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).is_ok(), "{time}");
        let fields = json!({
            "level": "WARN", "message": "said!", "quoted": "a \"b\"\n", "shown": "7", "seen": "Some(1)", "less": -1,
            "is_there": true, "target": "part",
        });
        assert_eq!(line, fields);
    }
}
