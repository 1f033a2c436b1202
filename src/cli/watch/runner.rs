//! What is done for each change, one after another, beside whoever watches: `relayctl watch --exec` and `--notify`.

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_local;

/// How many changes wait for what is slower than they come.
const WAITING: usize = 1024;

/// Does something for each change, on the runtime's thread.
pub(super) struct Runner<T> {
    changes: Sender<T>,
    failures: Receiver<String>,
    /// Whether changes are passed over.
    is_behind: bool,
}

impl<T: 'static> Runner<T> {
    /// Returns a runner that does this, and has nothing to do yet. What is done fails in words for the person.
    pub(super) fn start(act: impl AsyncFn(T) -> Result<(), String> + 'static) -> Self {
        let (changes, mut waiting) = channel(WAITING);
        let (failed, failures) = channel(1);
        spawn_local(async move {
            while let Some(change) = waiting.recv().await {
                if let Err(failure) = act(change).await {
                    // Whoever is still being told of the last one hears of this kind soon enough.
                    let _full = failed.try_send(failure);
                }
            }
        });
        Self { changes, failures, is_behind: false }
    }

    /// Hands over a change. Where too many wait it is passed over, and what is to be said of the first of those is
    /// returned.
    pub(super) fn hand_over(&mut self, change: T) -> Option<&'static str> {
        let was_behind = self.is_behind;
        self.is_behind = self.changes.try_send(change).is_err();
        let begins = self.is_behind && !was_behind;
        begins.then_some("changes come faster than they are dealt with: some are passed over")
    }

    /// Returns how it failed, once it has. May be dropped at any time without loss.
    pub(super) async fn failure(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Whoever runs it goes on for as long as this is there.
            None => std::future::pending().await,
        }
    }
}
