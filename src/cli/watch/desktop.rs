//! `relayctl watch --notify`: shows a notification on the desktop, on Linux by the notification service of the session bus
//! (freedesktop.org, Desktop Notifications Specification 1.3).

use notify_rust::Notification;
use tokio::task::spawn_blocking;

use super::news::News;

/// Shows news.
///
/// # Errors
/// Nobody shows notifications, or not this one, in words.
pub(super) async fn show(news: News) -> Result<(), String> {
    let mut notification = Notification::new();
    notification.appname("relay").summary(&news.summary).body(&escaped(&news.body)).icon("dialog-information");
    let shown = spawn_blocking(move || notification.show().map(drop).map_err(|error| error.to_string())).await;
    let shown = shown.unwrap_or_else(|stopped| Err(stopped.to_string()));
    shown.map_err(|error| format!("the desktop did not show a notification: {error}"))
}

/// Returns the text as a body that means nothing else: a service may read it as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
