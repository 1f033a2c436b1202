"""Steps through a process, one instruction after the other, by ptrace(2); Linux on x86-64, as root."""
import ctypes, os, sys

SEIZE, INTERRUPT, SINGLESTEP, GETREGS, PEEKTEXT = 0x4206, 0x4207, 9, 12, 1
ALL_CHILDREN = 0x40000000
RAX, RIP = 10, 16  # the places in user_regs_struct
SYSCALL = 0x050F

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long


def attach(pid):
    """Stops a process, to step through it. Whoever does it is a process of its own."""
    if libc.ptrace(SEIZE, pid, None, None) != 0:
        sys.exit("cannot trace process %d: %s" % (pid, os.strerror(ctypes.get_errno())))
    libc.ptrace(INTERRUPT, pid, None, None)
    os.waitpid(pid, ALL_CHILDREN)


def steps(pid):
    """Steps through a process that was attached to. Yields its registers before each instruction."""
    registers = (ctypes.c_ulonglong * 27)()
    while True:
        libc.ptrace(SINGLESTEP, pid, None, None)
        _, status = os.waitpid(pid, ALL_CHILDREN)
        if not os.WIFSTOPPED(status):
            return
        libc.ptrace(GETREGS, pid, None, ctypes.byref(registers))
        yield registers


def is_syscall(pid, at):
    """Returns whether the instruction there is a system call."""
    return libc.ptrace(PEEKTEXT, pid, at, None) & 0xFFFF == SYSCALL
