//! Real hubs and channels that are killed while sessions talk.

#[cfg(target_os = "linux")]
mod chaos;
#[cfg(target_os = "linux")]
mod crash_points;
