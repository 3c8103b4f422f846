"""HTTP/2 on a TLS socket that does not block: what both sides of it have in common, client.py and peer.py."""

from __future__ import annotations

import select
import socket
import ssl

import h2.connection

#: Bytes that wait to be sent before more are made.
AHEAD = 1 << 20
_FRAME = 1 << 18
_RECORDS = 1 << 16


class Talk:
    """Bytes in, bytes out. Who inherits knows what they mean."""

    def __init__(self, sock: ssl.SSLSocket, connection: h2.connection.H2Connection, unread: bytes = b"") -> None:
        """`unread`: what came behind the head of the upgrade."""
        self.h2 = connection
        self.ended = False  # nothing more comes, or nobody wants it
        self.out = bytearray()
        self._socket = sock
        self._unread = unread
        self._blocked = 0  # of `out`, as given to a call that has to be repeated

    def take(self, data: bytes) -> None:
        """What has arrived, cut anywhere."""
        raise NotImplementedError

    def fill(self) -> None:
        """More to send, into `out`, as long as that is shorter than AHEAD."""
        raise NotImplementedError

    def frame_room(self, id: int) -> int:
        """Bytes of a body that fit into the next frame of a stream."""
        return min(self.h2.local_flow_control_window(id), self.h2.max_outbound_frame_size, _FRAME)

    def read(self) -> bool:
        """Takes what is there, or the end. Whether anything was."""
        moved = False
        while not self.ended:
            try:
                data, self._unread = self._unread or self._socket.recv(1 << 18), b""
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return moved
            except (ssl.SSLError, OSError):
                data = b""
            moved = True
            if data:
                self.take(data)
            else:
                self.ended = True
        return moved

    def write(self) -> bool:
        """Sends what can be sent. Whether anything was."""
        self.out += self.h2.data_to_send()
        if len(self.out) < AHEAD:
            self.fill()
        moved = False
        while self.out:
            size = self._blocked or min(len(self.out), _RECORDS)
            try:
                sent = self._socket.send(bytes(self.out[:size]))
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._blocked = size
                return moved
            except (ssl.SSLError, OSError):
                self.out.clear()  # what the other side said before it went is still to be read
                return moved
            self._blocked = 0
            del self.out[:sent]
            moved = True
        return moved

    def wait_for(self, seconds: float) -> None:
        """Until something can be read, or sent if there is something to send."""
        select.select([self._socket], [self._socket] if self.out else [], [], seconds)


def hang_up(sock: socket.socket) -> None:
    """Ends a connection that another thread may be reading from. SSLSocket.shutdown also throws away the TLS state: that thread
    would go on with the plain socket, and take what is encrypted for what was said."""
    socket.socket.shutdown(sock, socket.SHUT_RDWR)
