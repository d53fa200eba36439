"""A camera for the tests: an RTSP 1.0 server (RFC 2326) that sends one MPEG-TS over TCP."""

import io
import re
import socket
import struct
import threading
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

_TS_PACKET, _TS_IN_RTP = 188, 7  # bytes; RFC 2250 lets a packet hold as many as fit
_MP2T = 33  # static payload type, 90,000 units a second (RFC 3551)
_SDP = f"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
t=0 0
m=video 0 RTP/AVP {_MP2T}
c=IN IP4 127.0.0.1
a=control:track
"""


class RtspServer:
    """Serves one stream at `url` to one client after another; a context manager.

    Args:
      stream: an MPEG-TS; see `transport_stream`.
      status: of the answer to DESCRIBE; 200 describes the stream.
      send: the share of the stream that is sent.
      then: what follows: "close" ends the connection, "stall" keeps it open and silent.
      udp: answer 461 to a client that asks for TCP, as cameras without it do.

    Attributes:
      address, url: host:port, and what a client opens.
      transports: what clients asked for in SETUP.
      ended: whether a client has said TEARDOWN.
    """

    def __init__(
        self,
        stream: bytes,
        *,
        status: str = "200 OK",
        send: float = 1.0,
        then: str = "close",
        udp: bool = False,
    ):
        whole = len(stream) // _TS_PACKET
        self._stream = stream[: int(whole * send) * _TS_PACKET]
        self._status, self._then, self._udp = status, then, udp
        self.transports: list[str] = []
        self.ended = threading.Event()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)  # how soon the end is heard
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"rtsp://{self.address}/camera"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "RtspServer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(0.05)
                try:
                    self._answer(client)
                except ConnectionError:  # the client left without a word
                    continue

    def _answer(self, client: socket.socket) -> None:
        """Answers requests until the client leaves, or the stream is over."""
        received = b""
        while not self._closed.is_set():
            try:
                data = client.recv(4096)
            except TimeoutError:
                continue
            if not data:
                return
            received += data
            while b"\r\n\r\n" in received:
                request, _, received = received.partition(b"\r\n\r\n")
                if self._reply(client, request.decode()):
                    return

    def _reply(self, client: socket.socket, request: str) -> bool:
        """Answers one request; whether it was the last one."""
        method = request.partition(" ")[0]
        status, lines, body = "200 OK", [], ""
        if method == "OPTIONS":
            lines = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"]
        elif method == "DESCRIBE":
            status, body = self._status, _SDP.replace("\n", "\r\n")
            lines = ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            body, lines = (body, lines) if status.startswith("200") else ("", [])
        elif method == "SETUP":
            (transport,) = re.findall(r"(?m)^Transport: (.*?)\r?$", request)
            self.transports.append(transport)
            tcp = "TCP" in transport
            status = "461 Unsupported Transport" if tcp == self._udp else status
            lines = [f"Transport: {transport}", "Session: 1"]
        number = re.findall(r"(?m)^CSeq: (\d+)", request)[0]
        head = [f"RTSP/1.0 {status}", f"CSeq: {number}", *lines]
        client.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        if method == "TEARDOWN":
            self.ended.set()
        if method == "PLAY":
            self._play(client)
        return method == "TEARDOWN" or (method == "PLAY" and self._then == "close")

    def _play(self, client: socket.socket) -> None:
        """Sends it all at once: 12 bytes of RTP header and up to seven TS packets at a time."""
        client.settimeout(20)  # a client that decodes has no hurry
        step = _TS_PACKET * _TS_IN_RTP
        for number, start in enumerate(range(0, len(self._stream), step)):
            header = struct.pack(">BBHII", 2 << 6, _MP2T, number & 0xFFFF, number * 90, 1)
            packet = header + self._stream[start : start + step]
            client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)  # channel 0
        client.settimeout(0.05)


def transport_stream(frames: Sequence[np.ndarray], fps: int = 25) -> bytes:
    """H.264 in MPEG-TS, a key frame each half second, of uint8 RGB [H, W, 3] frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        options = {"crf": "5", "bf": "0", "preset": "ultrafast"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", fps // 2
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
