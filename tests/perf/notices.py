#!/usr/bin/env python3
"""What telling owners costs, by hand, against a daemon of its own:

    tests/perf/notices.py target/release/afterbeep [subscriptions] [letters]

The time from BYE to NOTIFY, at 40 calls a second, and to the first byte of a mail's DATA; how long it
takes to start with so many letters in its outbox; and its CPU while so many subscriptions are
refreshed every 60 s.
"""

import collections
import heapq
import json
import os
import pathlib
import random
import re
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ECHOED = re.compile(r"(?i)(via|from|to|call-id|cseq):")


class Daemon:
    def __init__(self, program, more, mailboxes):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="afterbeep-perf-"))
        self.program, self.sip, self.http = program, free(socket.SOCK_DGRAM), free(socket.SOCK_STREAM)
        (self.dir / "c.toml").write_text(
            f"spool = '{self.dir}/spool'\nstate = '{self.dir}/state'\n{more}\n"
            f"[sip]\nudp = ['127.0.0.1:{self.sip}']\ntcp = []\n"
            "peers = [{ address = '127.0.0.1', trusted = true }]\n"
            f"[http]\nlisten = ['127.0.0.1:{self.http}']\n"
            "[deposit]\ninstructions = false\nmin_seconds = 0\nsilence_seconds = 0\n")
        self.run("mailbox", "add", *mailboxes)
        self.child = None

    def run(self, *arguments):
        subprocess.run([self.program, "--config", self.dir / "c.toml", *arguments], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        """Seconds until it listens."""
        begun = time.monotonic()
        log = open(self.dir / "log", "w")
        self.child = subprocess.Popen([self.program, "--config", self.dir / "c.toml", "serve"],
                                      stdout=log, stderr=log)
        control = self.dir / "state/control.sock"
        while True:
            with socket.socket(socket.AF_UNIX) as knock:
                try:
                    knock.connect(str(control))
                    return time.monotonic() - begun
                except OSError:
                    time.sleep(0.002)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stop(self):
        self.child.terminate()
        self.child.wait()


def free(kind):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def subscriptions(program, many):
    daemon = Daemon(program, "", ["1000-1999"])
    daemon.start()
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind(("127.0.0.1", 0))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    here, tags, seen = wire.getsockname()[1], {}, collections.Counter()

    def subscribe(n, cseq):
        to = f"<sip:{1000 + n % 1000}@127.0.0.1>" + (f";tag={tags[n]}" if n in tags else "")
        wire.sendto((
            f"SUBSCRIBE sip:{1000 + n % 1000}@127.0.0.1:{daemon.sip} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{here};branch=z9hG4bK{n}x{cseq}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:p{n}@127.0.0.1>;tag=f{n}\r\nTo: {to}\r\nCall-ID: {n}@perf\r\n"
            f"CSeq: {cseq} SUBSCRIBE\r\nContact: <sip:p{n}@127.0.0.1:{here}>\r\n"
            f"Event: message-summary\r\nExpires: 120\r\nContent-Length: 0\r\n\r\n").encode(),
            ("127.0.0.1", daemon.sip))

    def answer():
        while True:
            bytes_, source = wire.recvfrom(65536)
            text = bytes_.decode()
            first, rest = text.split("\r\n", 1)
            if first.startswith("SIP/2.0"):
                seen[first.split(" ")[1]] += 1
                call = re.search(r"Call-ID: (\d+)@", text)
                tag = re.search(r"\r\nTo: [^\r]*;tag=([^\r;]+)", text)
                if call and tag:
                    tags[int(call[1])] = tag[1]
                continue
            seen["NOTIFY"] += 1
            head = rest.split("\r\n\r\n")[0].split("\r\n")
            kept = "\r\n".join(line for line in head if ECHOED.match(line))
            wire.sendto(f"SIP/2.0 200 OK\r\n{kept}\r\nContent-Length: 0\r\n\r\n".encode(), source)

    threading.Thread(target=answer, daemon=True).start()

    def all_in(seconds, cseq):
        begun = time.monotonic()
        for n in range(many):
            subscribe(n, cseq)
            while (ahead := begun + (n + 1) * seconds / many - time.monotonic()) > 0:
                time.sleep(ahead)

    all_in(20, 1)
    time.sleep(1)
    assert len(tags) == many, f"only {len(tags)} subscribed: {seen}"
    seen.clear()
    before, begun = daemon.cpu(), time.monotonic()
    all_in(60, 2)
    used, took = daemon.cpu() - before, time.monotonic() - begun
    time.sleep(1)
    print(f"{many} subscriptions refreshed in {took:.0f} s: {100 * used / took:.2f} % of a core, "
          f"{daemon.memory():.0f} MB; {dict(seen)}")
    daemon.stop()


def queue(program, many):
    daemon = Daemon(program, "[mail]\nserver = 'smtp://127.0.0.1:9'\nfrom = 'vm@pbx.example'", ["1000"])
    empty = daemon.start()
    daemon.stop()
    toml = (daemon.dir / "spool/default/1000/mailbox.toml").read_text()
    uuid = re.search(r'uuid = "([^"]+)"', toml)[1]
    body = json.dumps({"errand": "mail", "to": "a@example.com", "kind": "full"})
    with sqlite3.connect(daemon.dir / "state/state.db") as state:
        now = int(time.time())
        state.executemany(
            "INSERT INTO outbox (key, mailbox, lane, body, made, due) VALUES (?, ?, 'mail', ?, ?, ?)",
            ((f"perf-{n}", uuid, body, now, now) for n in range(many)))
    state.close()
    full = daemon.start()
    before = daemon.cpu()
    time.sleep(20)
    used = daemon.cpu() - before
    memory = daemon.memory()
    daemon.child.kill()
    daemon.child.wait()
    with sqlite3.connect(daemon.dir / "state/state.db") as state:
        kept = state.execute("SELECT count(*) FROM outbox").fetchone()[0]
    print(f"{many} letters wait: starts in {full:.2f} s (empty {empty:.2f} s), "
          f"{5 * used:.1f} % of a core while the server is down, {memory:.0f} MB; kept {kept}")


def lamps(program, calls, rate):
    """From BYE to NOTIFY: each mailbox has a lamp that nobody subscribed for."""
    sip, rtp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for one in (sip, rtp):
        one.bind(("127.0.0.1", 0))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    # When the kernel had it, whatever this program was doing.
    sip.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sip.setblocking(False)
    here, media = sip.getsockname()[1], rtp.getsockname()[1]
    daemon = Daemon(program, "", ["1000-1199"])
    daemon.start()
    for ext in range(1000, 1200):
        daemon.run("mailbox", "edit", str(ext), "--mwi", f"sip:{ext}@127.0.0.1:{here}")
    target, agenda, bye, told, tags = ("127.0.0.1", daemon.sip), [], {}, {}, {}
    sdp = ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
           f"m=audio {media} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")

    def at(when, act, *arguments):
        heapq.heappush(agenda, (when, random.random(), act, arguments))

    def say(n, method, cseq, more="", body=""):
        ext = 1000 + n % 200
        sip.sendto((
            f"{method} sip:{ext}@127.0.0.1:{daemon.sip} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{here};branch=z9hG4bK{n}{method}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:2000@127.0.0.1>;tag=f{n}\r\nTo: <sip:{ext}@127.0.0.1>{tags.get(n, '')}\r\n"
            f"Call-ID: {n}@lamps\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:2000@127.0.0.1:{here}>\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode(), target)

    def packet(n, port, number, kind, stamp, payload):
        head = struct.pack("!BBHII", 0x80, kind, number, stamp, n)
        rtp.sendto(head + payload, ("127.0.0.1", port))

    def hang_up(n):
        # Those of a mailbox whose lamp was told a second ago wait; none is, at this rate.
        bye[n] = time.time_ns()
        say(n, "BYE", 2)

    def answered(n, text):
        if n in tags:
            return
        tags[n] = ";tag=" + re.search(r"\r\nTo: [^\r]*;tag=([^\r;]+)", text)[1]
        port, now = int(re.search(r"m=audio (\d+)", text)[1]), time.monotonic()
        say(n, "ACK", 1)
        for number in range(3):
            at(now + 0.1 + number / 50, packet, n, port, number, 101, 800, bytes([11, 0x8a, 3, 32]))
        for number in range(25):
            voice = bytes(random.getrandbits(8) for _ in range(160))
            at(now + 1.2 + number / 50, packet, n, port, 3 + number, 0, 8000 + number * 160, voice)
        at(now + 1.72, hang_up, n)

    def hear():
        while True:
            try:
                bytes_, extra, _, source = sip.recvmsg(65536, 64)
            except BlockingIOError:
                return
            seconds, nanoseconds = struct.unpack("qq", extra[0][2][:16])
            text = bytes_.decode()
            if text.startswith("NOTIFY"):
                head = text.split("\r\n\r\n")[0].split("\r\n")[1:]
                kept = "\r\n".join(line for line in head if ECHOED.match(line))
                sip.sendto(f"SIP/2.0 200 OK\r\n{kept}\r\nContent-Length: 0\r\n\r\n".encode(), source)
                ext = int(re.match(r"NOTIFY sip:(\d+)@", text)[1])
                last = max((n for n in bye if 1000 + n % 200 == ext), default=None)
                if last is not None:
                    told.setdefault(last, seconds * 10**9 + nanoseconds)
            elif text.startswith("SIP/2.0 200") and "INVITE" in text:
                answered(int(re.search(r"Call-ID: (\d+)@", text)[1]), text)

    begun = time.monotonic() + 2
    for n in range(calls):
        at(begun + n / rate, say, n, "INVITE", 1, "Content-Type: application/sdp\r\n", sdp)
    while time.monotonic() < begun + calls / rate + 4:
        while agenda and agenda[0][0] <= time.monotonic():
            _, _, act, arguments = heapq.heappop(agenda)
            act(*arguments)
        hear()
        time.sleep(0.0005)
    waits = sorted((told[n] - bye[n]) / 1e6 for n in told)
    part = lambda share: waits[min(len(waits) - 1, int(len(waits) * share))]
    print(f"{len(waits)} of {calls} NOTIFYs at {rate} calls/s, after BYE: p50 {part(0.5):.2f} ms, "
          f"p90 {part(0.9):.2f} ms, p99 {part(0.99):.2f} ms, longest {waits[-1]:.2f} ms")
    daemon.stop()


# Linux has it; Python's socket does not name it.
SO_TIMESTAMPNS = 35


def letters(program, calls):
    """From BYE to DATA."""
    data = {}
    smtp = socket.create_server(("127.0.0.1", 0))

    def serve(stream):
        lines = stream.makefile("rb")
        stream.sendall(b"220 perf\r\n")
        for line in lines:
            verb = line.split(b" ")[0].strip().upper()
            if verb == b"DATA":
                at = time.monotonic()
                stream.sendall(b"354 go on\r\n")
                text = b""
                for line in lines:
                    if line == b".\r\n":
                        break
                    text += line
                data[re.search(rb"mailbox=?\r?\n? ?(\d{4})|mailbox (\d{4})", text)[0][-4:].decode()] = at
            stream.sendall(b"221 bye\r\n" if verb == b"QUIT" else b"250 well\r\n")

    def listen():
        while True:
            threading.Thread(target=serve, args=(smtp.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    last = 1000 + calls - 1
    daemon = Daemon(program, f"[mail]\nserver = 'smtp://127.0.0.1:{smtp.getsockname()[1]}'\n"
                    "from = 'vm@pbx.example'", [f"1000-{last}", "--email", "a@example.com",
                                                "--notify-email", "attach"])
    daemon.start()
    bye = {}

    def call(n):
        ext = str(1000 + n)
        sip, rtp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (sip, rtp):
            one.bind(("127.0.0.1", 0))
            one.settimeout(10)
        here, media = sip.getsockname()[1], rtp.getsockname()[1]
        sdp = ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
               f"m=audio {media} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")

        def say(method, cseq, tag, more, body=""):
            sip.sendto((
                f"{method} sip:{ext}@127.0.0.1:{daemon.sip} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{here};branch=z9hG4bK{n}{method}\r\nMax-Forwards: 70\r\n"
                f"From: <sip:2000@127.0.0.1>;tag=f{n}\r\nTo: <sip:{ext}@127.0.0.1>{tag}\r\n"
                f"Call-ID: {n}@letters\r\nCSeq: {cseq} {method}\r\n"
                f"Contact: <sip:2000@127.0.0.1:{here}>\r\n{more}"
                f"Content-Length: {len(body)}\r\n\r\n{body}").encode(), ("127.0.0.1", daemon.sip))

        say("INVITE", 1, "", "Content-Type: application/sdp\r\n", sdp)
        answer = ""
        while not answer.startswith("SIP/2.0 200"):
            answer = sip.recv(65536).decode()
        tag = ";tag=" + re.search(r"\r\nTo: [^\r]*;tag=([^\r;]+)", answer)[1]
        audio = int(re.search(r"m=audio (\d+)", answer)[1])
        say("ACK", 1, tag, "")
        source, stamp = random.getrandbits(32), 0
        for packet in range(300):
            kind = 0
            payload = bytes(random.getrandbits(8) for _ in range(160))
            # The pound key, once: to the beep.
            if packet in (5, 6, 7):
                kind, payload = 101, bytes([11, 0x8a, 3, 32])
            head = bytes([0x80, kind]) + packet.to_bytes(2, "big") + \
                (stamp if kind == 0 else 800).to_bytes(4, "big") + source.to_bytes(4, "big")
            rtp.sendto(head + payload, ("127.0.0.1", audio))
            stamp += 160
            time.sleep(0.02)
        bye[ext] = time.monotonic()
        say("BYE", 2, tag, "")
        sip.recv(65536)

    threads = []
    for n in range(calls):
        threads.append(threading.Thread(target=call, args=(n,)))
        threads[-1].start()
        time.sleep(0.25)
    for thread in threads:
        thread.join()
    time.sleep(2)
    waits = sorted(1000 * (data[ext] - bye[ext]) for ext in bye if ext in data)
    print(f"{len(waits)} of {calls} letters, from BYE to DATA: p50 {statistics.median(waits):.1f} ms, "
          f"longest {waits[-1]:.1f} ms")
    daemon.stop()


if __name__ == "__main__":
    given = sys.argv[1:]
    if not given:
        sys.exit(__doc__)
    program = pathlib.Path(given[0]).resolve()
    many = [int(number) for number in given[1:]]
    lamps(program, 600, 40)
    letters(program, 40)
    queue(program, many[1] if len(many) > 1 else 100_000)
    subscriptions(program, many[0] if many else 10_000)
