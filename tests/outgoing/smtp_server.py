"""A small mail server of a test, by RFC 5321: keeps what it takes, refuses what it is told to."""

from __future__ import annotations

import base64
import contextlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class Mailbox:
    """`refuse` is the answer to RCPT where it is set, to `refuse_only` alone where that is set,
    `refuse_data` the one to a message; `die_after_data` drops the line instead of acknowledging a
    message that it kept, `goodbye` is what it says to QUIT. `signed_in` are names and passwords."""

    port: int = 0
    refuse: str = ""
    refuse_only: str = ""
    refuse_data: str = ""
    die_after_data: bool = False
    goodbye: str = "221 bye"
    password: str = ""
    signed_in: list[tuple[str, str, bool]] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)


@contextlib.contextmanager
def mail_server(tls: ssl.SSLContext | None = None, *, implicit: bool = False) -> Iterator[Mailbox]:
    """`tls`: STARTTLS and AUTH PLAIN are offered; `implicit`: it speaks TLS from the start."""
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            is_secret = implicit
            self.say("220 mail.test ready")
            to: list[str] = []
            while line := self.rfile.readline():
                word = line[:4].upper().strip()
                if word in (b"EHLO", b"HELO"):
                    able = ["AUTH PLAIN"] if is_secret else ["STARTTLS"] if tls else []
                    lines = ["mail.test", *able]
                    for n, one in enumerate(lines, 1):
                        self.say(f"250{' ' if n == len(lines) else '-'}{one}")
                elif word == b"STAR":
                    self.say("220 go on")
                    self.request = tls.wrap_socket(self.request, server_side=True)
                    self.rfile, self.wfile = (
                        self.request.makefile(mode, buffering=0 if mode == "wb" else -1)
                        for mode in ("rb", "wb")
                    )
                    is_secret = True
                elif word == b"AUTH":
                    _, user, given = base64.b64decode(line.split()[2]).decode().split("\0")
                    box.signed_in.append((user, given, is_secret))
                    self.say("235 welcome" if given == box.password else "535 who is that")
                elif word == b"RCPT":
                    if box.refuse and box.refuse_only in line.decode():
                        self.say(box.refuse)
                        continue
                    to.append(line.decode().partition("<")[2].partition(">")[0])
                    self.say("250 ok")
                elif word == b"DATA":
                    self.say("354 go on")
                    if box.refuse_data:
                        self.drain()
                        self.say(box.refuse_data)
                        continue
                    self.keep(to)
                    if box.die_after_data:
                        return
                    self.say("250 kept")
                    to = []
                elif word == b"QUIT":
                    self.say(box.goodbye)
                    return
                else:
                    self.say("250 ok")

        def drain(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line[1:] if line.startswith(b"..") else line)
            return b"".join(lines)

        def keep(self, to: list[str]) -> None:
            found: Any = message_from_bytes(self.drain(), policy=policy.default)
            box.mails.append(found)
            box.recipients.append(to)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    if implicit and tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    box.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
