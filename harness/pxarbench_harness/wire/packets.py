"""A line between two network devices that delays packets: for kernels that cannot (wire/apart.py starts it as a program).

    packets.py NAME NAME DELAY_MS MBIT [0: as fast as it goes]

Makes two TUN devices where it runs, says "ready", and passes packets between them until it is ended: each leaves the line DELAY_MS
after the line took it, and the line takes MBIT. Devices may be moved to other namespaces meanwhile. TCP on both sides is the
kernel's own. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import queue
import struct
import sys
import threading
import time

_TUNSETIFF, _TUN, _NO_HEADER = 0x400454CA, 0x0001, 0x1000
#: Packets on their way in one direction; more are lost, as on any line.
_QUEUE = 100_000
_PACKET_MAX = 1 << 16


def device(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _NO_HEADER))
    return fd


def carry(source: int, sink: int, delay: float, bytes_per_second: float) -> None:
    way: queue.Queue[tuple[float, bytes]] = queue.Queue(_QUEUE)

    def take() -> None:
        free = 0.0
        while True:
            try:
                packet = os.read(source, _PACKET_MAX)
            except OSError:  # not up yet
                time.sleep(0.01)
                continue
            free = max(free, time.monotonic())
            if bytes_per_second:
                free += len(packet) / bytes_per_second
            try:
                way.put_nowait((free + delay, packet))
            except queue.Full:
                continue

    threading.Thread(target=take, daemon=True).start()
    while True:
        due, packet = way.get()
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            os.write(sink, packet)
        except OSError:
            pass  # not up yet, or not for it: lost


def main() -> None:
    near, far = (device(name) for name in sys.argv[1:3])
    delay, rate = float(sys.argv[3]) / 1000, float(sys.argv[4]) * 125_000
    print("ready", flush=True)
    threading.Thread(target=carry, args=(near, far, delay, rate), daemon=True).start()
    carry(far, near, delay, rate)


if __name__ == "__main__":
    main()
