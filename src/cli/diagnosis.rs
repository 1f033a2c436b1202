//! Why no hub is reached, and the one line that cures it: from the socket and from the service manager, the same for all
//! commands.

use std::path::Path;
use std::time::Duration;

use super::service_view::{Fix, Reach, ServiceView};
use crate::advice::{self, Advice, Observation, Place, Starter};
use crate::paths::Environment;
use crate::protocol::{ErrorCode, Refusal};

/// How long a hub may be silent before the service manager is asked about it: a cold start takes some 20 ms.
const SILENCE: Duration = Duration::from_millis(250);

/// How often a hub that is being started is asked about again.
const LOOKS: u32 = 10;

/// Connects and leaves at once.
pub(super) fn reach(socket: &Path) -> Reach {
    advice::connect(socket).map(|_| ())
}

/// Returns what was seen where the commands look for the hub, what cures it, and whether that can be done without asking.
/// A hub that the service manager cannot start is known by the manager alone: its socket listens.
pub(super) fn explain(environment: &Environment, seen: &Observation, service: &ServiceView) -> (Advice, Option<Fix>) {
    let socket = environment.socket().unwrap_or_default();
    let named_by = environment.socket_named_by();
    let place = Place { socket: &socket, named_by };
    if named_by.is_some() {
        return (advice::advise(seen, place, Starter::Unknown), None);
    }
    let failing = if matches!(seen, Observation::Silent) { service.failing() } else { None };
    let seen = failing.as_ref().unwrap_or(seen);
    let warning = service.warnings(&Err(seen.clone())).into_iter().next();
    let restart = service.restart_command();
    let starter = match service {
        ServiceView::None(_) => Starter::Nobody,
        ServiceView::Seen { .. } => {
            Starter::Manager { cure: warning.as_ref().map(|warning| warning.next.as_str()), restart: &restart }
        }
    };
    let hangs = *seen == Observation::Silent && warning.is_none() && service.is_loaded();
    let fix = if hangs { Some(Fix::RestartHub) } else { warning.as_ref().and_then(|warning| warning.fix.clone()) };
    (advice::advise(seen, place, starter), fix)
}

/// Returns the refusal that says it.
pub(super) fn unreachable(environment: &Environment, seen: &Observation, service: &ServiceView) -> Refusal {
    let Advice { sentence, next } = explain(environment, seen, service).0;
    Refusal::new(ErrorCode::HubUnreachable, sentence, next)
}

/// Looks at everything again and returns the refusal that says it; for a hub that a client did not reach.
pub(super) fn look_again(environment: &Environment) -> Option<Refusal> {
    let socket = environment.socket().ok()?;
    let seen = reach(&socket).err().unwrap_or(Observation::Silent);
    Some(unreachable(environment, &seen, &ServiceView::look(environment)))
}

/// Returns, within a second, why the service manager cannot start the hub; never where it can, or has no part in it.
pub(super) async fn start_that_fails(environment: Environment) -> Refusal {
    for _ in 0..LOOKS {
        tokio::time::sleep(SILENCE).await;
        if environment.socket_named_by().is_some() {
            break;
        }
        let asked = environment.clone();
        // The manager may take its time, and nothing else may wait for it.
        let looked = tokio::task::spawn_blocking(move || {
            let service = ServiceView::look(&asked);
            let failing = service.failing();
            (failing.map(|seen| unreachable(&asked, &seen, &service)), service.is_running())
        });
        match looked.await {
            Ok((Some(refusal), _)) => return refusal,
            Ok((None, false)) => {}
            Ok((None, true)) | Err(_) => break,
        }
    }
    std::future::pending().await
}
