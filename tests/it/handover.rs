//! The hub without a service manager: sockets handed over by the protocol's letter, and the foreground.
