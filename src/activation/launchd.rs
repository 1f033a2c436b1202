//! Takes the socket that launchd holds for the job, by `launch_activate_socket`.
//!
//! The function exists on macOS only. Everything around it, which is what can go wrong, is written against its type,
//! so that a stand-in exercises it on every platform.

#![cfg_attr(not(any(target_os = "macos", test)), expect(dead_code, reason = "only macOS has launchd"))]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::{ptr, slice};

use rustix::io::Errno;

use super::{ActivationError, SocketName, only_one};

const fn c_name(name: SocketName) -> &'static CStr {
    match name {
        SocketName::Hub => c"hub",
        SocketName::Bridge => c"bridge",
    }
}

/// `int launch_activate_socket(const char *name, int **fds, size_t *cnt)` of `<launch.h>`: 0 or an errno; the caller
/// owns the descriptors and frees the array.
type ActivateSocket = unsafe extern "C" fn(*const c_char, *mut *mut c_int, *mut usize) -> c_int;
/// `void free(void *)`.
type Free = unsafe extern "C" fn(*mut c_void);

/// The C functions that are called.
struct Calls {
    activate: ActivateSocket,
    free: Free,
}

/// Returns the program's socket if launchd holds one for this process.
///
/// # Errors
/// The socket was taken before, or launchd handed over something else.
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "no crate of the project binds launch_activate_socket")]
pub(super) fn inherited(name: SocketName) -> Result<Option<UnixListener>, ActivationError> {
    unsafe extern "C" {
        fn launch_activate_socket(name: *const c_char, fds: *mut *mut c_int, cnt: *mut usize) -> c_int;
        fn free(pointer: *mut c_void);
    }
    take(name, &Calls { activate: launch_activate_socket, free })
}

/// Returns `None`: there is no launchd.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "macos"))]
pub(super) fn inherited(_name: SocketName) -> Result<Option<UnixListener>, ActivationError> {
    Ok(None)
}

#[expect(unsafe_code, reason = "calls C and takes over what it returns")]
fn take(name: SocketName, calls: &Calls) -> Result<Option<UnixListener>, ActivationError> {
    let mut descriptors: *mut c_int = ptr::null_mut();
    let mut count: usize = 0;
    // SAFETY: the name is a C string, and both out-pointers are valid for the call.
    let code = unsafe { (calls.activate)(c_name(name).as_ptr(), &raw mut descriptors, &raw mut count) };
    // Not started by launchd, or by a job that has no such socket: a terminal's child can be either.
    if [Errno::SRCH, Errno::NOENT].iter().any(|errno| errno.raw_os_error() == code) {
        return Ok(None);
    }
    if code != 0 {
        return Err(ActivationError::Launchd(io::Error::from_raw_os_error(code)));
    }
    if descriptors.is_null() || count == 0 {
        let nothing = io::Error::new(io::ErrorKind::InvalidData, "it has the socket's name and no socket");
        return Err(ActivationError::Launchd(nothing));
    }
    // SAFETY: on success the array has `count` initialised elements; it is copied before it is freed.
    let raw = unsafe { slice::from_raw_parts(descriptors, count) }.to_vec();
    // SAFETY: the array was allocated for us by malloc, and is not used again.
    unsafe { (calls.free)(descriptors.cast()) };
    let sockets = raw
        .into_iter()
        // SAFETY: launchd opened these descriptors for us; the name can be activated only once in a process, so no
        // one else has taken them.
        .map(|descriptor| (unsafe { OwnedFd::from_raw_fd(descriptor) }, name.as_str().to_owned()))
        .collect();
    only_one(name, sockets)
}

#[cfg(test)]
#[expect(unsafe_code, reason = "plays the part of launchd")]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    use rustix::io::FdFlags;

    use super::*;

    unsafe extern "C" {
        fn malloc(size: usize) -> *mut c_void;
        fn free(pointer: *mut c_void);
    }

    thread_local! {
        static CODE: Cell<c_int> = const { Cell::new(0) };
        static SOCKETS: RefCell<Vec<OwnedFd>> = const { RefCell::new(Vec::new()) };
        static FREED: Cell<usize> = const { Cell::new(0) };
    }

    unsafe extern "C" fn fake_activate(name: *const c_char, fds: *mut *mut c_int, cnt: *mut usize) -> c_int {
        // SAFETY: `take` passes a C string and valid out-pointers; the array has room for every socket.
        unsafe {
            assert_eq!(CStr::from_ptr(name).to_str(), Ok("hub"));
            let sockets: Vec<OwnedFd> = SOCKETS.take();
            if CODE.get() == 0 && !sockets.is_empty() {
                let array = malloc(sockets.len() * size_of::<c_int>()).cast::<c_int>();
                *cnt = sockets.len();
                *fds = array;
                for (index, socket) in sockets.into_iter().enumerate() {
                    array.add(index).write(socket.into_raw_fd());
                }
            }
        }
        CODE.get()
    }

    unsafe extern "C" fn counting_free(pointer: *mut c_void) {
        FREED.set(FREED.get() + 1);
        // SAFETY: the pointer comes from `malloc` in `fake_activate`.
        unsafe { free(pointer) };
    }

    fn take_from_launchd(code: c_int, sockets: Vec<OwnedFd>) -> Result<Option<UnixListener>, ActivationError> {
        CODE.set(code);
        SOCKETS.set(sockets);
        FREED.set(0);
        take(SocketName::Hub, &Calls { activate: fake_activate, free: counting_free })
    }

    const SUCCESS: c_int = 0;

    fn listening(directory: &tempfile::TempDir, name: &str) -> OwnedFd {
        UnixListener::bind(directory.path().join(name)).unwrap().into()
    }

    #[test]
    fn the_socket_is_taken_over_and_the_array_is_freed_once() {
        let directory = tempfile::tempdir().unwrap();
        let socket = listening(&directory, "s");
        rustix::io::fcntl_setfd(&socket, FdFlags::empty()).unwrap();
        let listener = take_from_launchd(SUCCESS, vec![socket]).unwrap().unwrap();
        assert_eq!(FREED.get(), 1);
        assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(FdFlags::CLOEXEC));

        let _client = UnixStream::connect(directory.path().join("s")).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn several_sockets_are_refused_and_none_of_them_leaks() {
        let directory = tempfile::tempdir().unwrap();
        let sockets = vec![listening(&directory, "a"), listening(&directory, "b")];
        let refused = take_from_launchd(SUCCESS, sockets);
        assert!(matches!(refused, Err(ActivationError::WrongSockets { .. })), "{refused:?}");
        assert_eq!(FREED.get(), 1);
        for name in ["a", "b"] {
            UnixStream::connect(directory.path().join(name)).unwrap_err();
        }
    }

    #[test]
    fn a_process_that_launchd_did_not_start_has_no_socket() {
        assert!(take_from_launchd(Errno::SRCH.raw_os_error(), Vec::new()).unwrap().is_none());
        assert!(take_from_launchd(Errno::NOENT.raw_os_error(), Vec::new()).unwrap().is_none());
    }

    #[test]
    fn a_socket_that_was_taken_before_is_an_error_and_so_is_success_without_one() {
        let again = take_from_launchd(Errno::ALREADY.raw_os_error(), Vec::new());
        assert!(matches!(&again, Err(ActivationError::Launchd(error)) if error.raw_os_error()
            == Some(Errno::ALREADY.raw_os_error())));
        let nothing = take_from_launchd(SUCCESS, Vec::new());
        assert!(matches!(nothing, Err(ActivationError::Launchd(_))), "{nothing:?}");
        assert_eq!(FREED.get(), 0);
    }

    #[test]
    fn both_spellings_of_the_name_agree() {
        for name in [SocketName::Hub, SocketName::Bridge] {
            assert_eq!(c_name(name).to_str(), Ok(name.as_str()));
        }
    }
}
