//! What `src/lib.rs` is to the programs, cut down to the rules and to those tests that need nothing else.
#![allow(dead_code, missing_docs, unused_imports, unfulfilled_lint_expectations, reason = "a part of the package, for cargo-mutants alone")]

#[cfg(test)]
extern crate self as relay;

#[cfg(feature = "channel")]
pub mod channel {
    pub mod envelope;
    mod meta;
    pub mod neutralise;
    pub mod notification;
}
#[cfg(feature = "client")]
pub mod bridge {
    pub mod exchange;
    pub mod frame;
    pub mod link;
    pub mod rights;
    pub mod sessions;
}
#[cfg(feature = "client")]
pub mod client;
mod confusables;
mod deadlines;
#[cfg(feature = "client")]
pub mod fault;
pub mod hub;
#[cfg(feature = "client")]
pub mod process;
pub mod protocol;
#[cfg(feature = "client")]
pub mod runtime;
#[cfg(feature = "channel")]
pub mod session {
    pub mod frame;
    pub mod receipt;
}
#[cfg(feature = "client")]
pub mod watched;

/// Named so that it comes first.
#[cfg(test)]
mod a {
    #[test]
    fn whatever_fails_ends_the_run() {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tell(panic);
            std::process::exit(101);
        }));
    }
}

#[cfg(test)]
use it::support;

#[cfg(test)]
#[path = "../tests/it"]
mod it {
    #[cfg(feature = "channel")]
    mod channel {
        mod peer_text;
    }
    #[cfg(feature = "client")]
    mod bridge {
        mod simulation;
    }
    mod hub {
        #[cfg(feature = "client")]
        mod exhaustive;
        mod loops;
        mod model;
        mod scenarios;
        #[cfg(feature = "client")]
        mod simulation;
    }

    pub(crate) mod support {
        pub(crate) mod hub;
        pub(crate) mod random;
    }
}
