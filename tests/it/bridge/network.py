#!/usr/bin/env python3
"""network.py N: a network of N machines, each in a network namespace of its own, whose links are ruled from standard input.

Each namespace has one TUN device, "wan", with the address 10.78.0.1 to 10.78.0.N; this process carries the packets between them.
It says "ready" and the numbers of the descriptors that are the namespaces, which are entered as /proc/PID/fd/NUMBER, and ends with
its standard input. A line of it is one of

    pass A B yes|no     whether packets of machine A reach machine B (numbers from 0)
    loss P              which part of all packets is lost, 0 to 1
    delay MS            how long a packet takes, one way
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP_AND_RUNNING = 0x41
NEVER_S = 3600


def namespace(number):
    """Makes a namespace with its device; returns the descriptors of both."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace can be made")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"wan", IFF_TUN | IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, text in ((SIOCSIFADDR, f"10.78.0.{number + 1}"), (SIOCSIFNETMASK, "255.255.255.0")):
            address = struct.pack("16sHH4s8x", b"wan", socket.AF_INET, 0, socket.inet_aton(text))
            fcntl.ioctl(control, request, address)
        for device in (b"lo", b"wan"):
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", device, IFF_UP_AND_RUNNING))
    return os.open("/proc/self/ns/net", os.O_RDONLY), tun


class Network:
    def __init__(self, tuns):
        self.tuns, self.cut, self.loss, self.delay_s = tuns, set(), 0.0, 0.0
        self.on_their_way, self.n = [], 0

    def obey(self, line):
        match line.split():
            case ["pass", a, b, "yes"]:
                self.cut.discard((int(a), int(b)))
            case ["pass", a, b, "no"]:
                self.cut.add((int(a), int(b)))
            case ["loss", part]:
                self.loss = float(part)
            case ["delay", ms]:
                self.delay_s = float(ms) / 1000
            case _:
                sys.exit(f"not understood: {line}")

    def take(self, packet, a):
        """Sends a packet of machine a on its way, unless it is none of IPv4, or is lost."""
        b = packet[19] - 1
        if packet[0] >> 4 != 4 or not 0 <= b < len(self.tuns) or (a, b) in self.cut or random.random() < self.loss:
            return
        self.n += 1
        heapq.heappush(self.on_their_way, (time.monotonic() + self.delay_s, self.n, b, packet))

    def deliver(self):
        """Delivers what is due; returns after how many seconds there is more to do."""
        while self.on_their_way:
            wait = self.on_their_way[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, _, b, packet = heapq.heappop(self.on_their_way)
            try:
                os.write(self.tuns[b], packet)
            except OSError:
                pass
        return NEVER_S


def main():
    made = [namespace(number) for number in range(int(sys.argv[1]))]
    network = Network([tun for _, tun in made])
    print("ready", *(descriptor for descriptor, _ in made), flush=True)
    unread = b""
    while True:
        readable, _, _ = select.select([0, *network.tuns], [], [], network.deliver())
        for descriptor in readable:
            if descriptor == 0:
                said = os.read(0, 4096)
                if not said:
                    return
                *lines, unread = (unread + said).split(b"\n")
                for line in lines:
                    network.obey(line.decode())
                continue
            while True:
                try:
                    network.take(os.read(descriptor, 65536), network.tuns.index(descriptor))
                except BlockingIOError:
                    break


main()
