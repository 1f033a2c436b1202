//! The hub under a real `systemd --user` when things go wrong.
