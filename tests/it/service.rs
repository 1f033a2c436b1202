//! The service's plans: what they show, and what a real `systemd --user` makes of them.
use std::path::Path;
use crate::support::user_manager::user_manager;
#[test]
fn smoke() {
    let manager = user_manager!();
    eprintln!("{}", manager.systemctl("list-units"));
    eprintln!("{:?}", manager.command("id").output());
    eprintln!("{:?}", manager.command("cat").arg("/proc/self/cgroup").output());
    eprintln!("{:?}", manager.from_outside(Path::new("/run/user")));
    panic!("show");
}
