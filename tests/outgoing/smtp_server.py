"""A small mail server of a test, by RFC 5321: keeps what it takes, refuses what it is told to."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class Mailbox:
    """`refuse` is the answer to RCPT where it is set; `die_after_data` drops the line instead of
    acknowledging a message that it kept."""

    port: int = 0
    refuse: str = ""
    die_after_data: bool = False
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)


@contextlib.contextmanager
def mail_server() -> Iterator[Mailbox]:
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 mail.test ready")
            to: list[str] = []
            while line := self.rfile.readline():
                word = line[:4].upper().strip()
                if word in (b"EHLO", b"HELO"):
                    self.say("250 mail.test")
                elif word == b"RCPT":
                    if box.refuse:
                        self.say(box.refuse)
                        continue
                    to.append(line.decode().partition("<")[2].partition(">")[0])
                    self.say("250 ok")
                elif word == b"DATA":
                    self.say("354 go on")
                    self.keep(to)
                    if box.die_after_data:
                        return
                    self.say("250 kept")
                    to = []
                elif word == b"QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

        def keep(self, to: list[str]) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line[1:] if line.startswith(b"..") else line)
            found: Any = message_from_bytes(b"".join(lines), policy=policy.default)
            box.mails.append(found)
            box.recipients.append(to)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    box.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
