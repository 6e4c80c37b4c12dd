"""Keeps a hub busy and in trouble for a while, and counts what was lost and what came twice.

Usage: soak.py BINARY [--minutes 20] [--clients 1000] [--seed N]

Clients of several kinds read, other processes write, and once a minute something goes wrong: the hub is killed, the
database is locked or moved away, the disk is full, readers stop reading. At the end every alarm of the table is held
against every alarm that every client was told: the difference of the two sets, the doubles and the order. A client
believes nothing but its own stream: what it should have is what the table holds after the position of its first hello.
Ends with 1 if anything was lost, came twice, came out of order or was overheard. Standard library only.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

LANGUAGES = ["ko", "en-US", "ja", "de,ja;q=0.5", "zh-TW, *;q=0.1"]

WRITER = """
import random, sqlite3, sys, time
path, name, seed, stop, pause = sys.argv[1:]
chance, number = random.Random(seed), 0
import os
db = sqlite3.connect(f'file:{path}?mode=rw', uri=True, timeout=30, isolation_level=None)
while not os.path.exists(stop):
    if os.path.exists(pause):
        if db:
            db.close()
            db = None
        open(f'{pause}.{name}', 'w').close()
        time.sleep(0.05)
        continue
    try:
        if db is None:
            db = sqlite3.connect(f'file:{path}?mode=rw', uri=True, timeout=30, isolation_level=None)
        db.execute('BEGIN IMMEDIATE')
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            number += 1
            user = f'user{chance.randrange(int(name.split("-")[1]))}' if chance.random() < 0.7 else None
            langs = chance.sample(['ko', 'US-en', 'jp', 'zh_TW'], chance.randrange(1, 5))
            rows = [(f'{name}-{number}', lang, f'{lang} {number} \\n \\u2028 text', user) for lang in langs]
            db.executemany('INSERT INTO alarm (id, lang, message, user_id) VALUES (?, ?, ?, ?)', rows)
        if chance.random() < 0.2:
            time.sleep(chance.random() / 4)
        if chance.random() < 0.2 and number > 10:
            changed = f'{name}-{number - chance.randrange(10)}'
            db.execute("UPDATE alarm SET message = message || '.' WHERE id = ?", [changed])
        db.execute('COMMIT')
    except sqlite3.Error as error:
        print(f'{name}: {error}', flush=True)
        if db and db.in_transaction:
            db.execute('ROLLBACK')
    time.sleep(chance.random() * 0.4)
"""


class Hub:
    """The hub's process, started again on the same port and database."""

    def __init__(self, binary, database, log):
        self.binary, self.database, self.log = binary, database, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process, self.samples, self.lives = None, [], []

    def start(self):
        arguments = ["--db", self.database, "--listen", f"127.0.0.1:{self.port}", "--log", "warn"]
        self.process = subprocess.Popen([self.binary, *arguments], stdout=subprocess.PIPE, stderr=self.log)
        self.process.stdout.readline()
        self.samples = []
        self.lives.append(self.samples)

    def sample(self):
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            self.samples.append((time.monotonic(), resident, len(os.listdir(f"/proc/{self.process.pid}/fd"))))
        except (OSError, StopIteration):
            pass  # it is just being killed


class Client:
    """One user at one page. Keeps its position over all connections, as a page does."""

    def __init__(self, number, kind, hub, chance):
        self.user, self.kind, self.hub, self.chance = f"user{number}", kind, hub, chance
        self.lang = chance.choice(LANGUAGES)
        self.last_id, self.start, self.alarms, self.counts = None, None, [], collections.Counter()
        self.deaf_until, self.writer, self.switching = 0.0, None, False

    async def run(self, stop):
        deliberate = True
        while not stop.is_set():
            try:
                end = await self.connection(deliberate)
                deliberate = self.switching
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
                end, deliberate = f"broken {type(error).__name__}", self.switching
            self.counts[end] += 1
            if self.switching:
                self.switching, self.lang = False, self.chance.choice(LANGUAGES)
                continue
            if end in ("superseded", "204"):
                deliberate = True  # nobody else opens this user's stream: the page was taken for another
            await asyncio.sleep(self.chance.uniform(0.2, 2))

    async def connection(self, deliberate):
        reader, self.writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.hub.port, limit=1 << 20), 10
        )
        try:
            query, header = f"lang={self.lang.replace(' ', '')}", ""
            if self.last_id and deliberate:
                query += f"&last_event_id={self.last_id}"
            elif self.last_id:
                header = f"Last-Event-ID: {self.last_id}\r\n"
            head = f"GET /connection/{self.user}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
            self.writer.write(f"{head}{header}\r\n".encode())
            status = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            if b" 204 " in status.split(b"\r\n")[0]:
                return "204"
            if b" 200 " not in status.split(b"\r\n")[0]:
                return status.split(b"\r\n")[0].decode()
            until = time.monotonic() + self.chance.uniform(2, 20)
            while True:
                now = time.monotonic()
                if self.kind in ("switcher", "dropper") and now > until:
                    self.switching = self.kind == "switcher"
                    return "left"
                if self.deaf_until > now:
                    await asyncio.sleep(self.deaf_until - now)
                if self.kind == "slow":
                    await asyncio.sleep(0.05)
                # No ping for so long is a dead connection.
                block = await asyncio.wait_for(reader.readuntil(b"\n\n"), 40)
                ended = self.block(block.decode())
                if ended:
                    return ended
        finally:
            self.writer.close()

    def block(self, text):
        # Not splitlines(): a message may hold what Unicode, but not the event stream, takes for the end of a line.
        fields = dict(line.strip("\r").split(": ", 1) for line in text.split("\n") if ": " in line)
        event, data = fields["event"], json.loads(fields["data"])
        self.counts[event] += 1
        if event == "hello":
            if self.start is None:
                self.start = int(fields["id"].split(".")[1])
        elif event == "alarm":
            self.alarms.append(data["id"])
        elif event == "bye":
            # A busy hub knows no position: what the client came with stays.
            return data["reason"]
        self.last_id = fields["id"]
        return None


class Trouble:
    """What goes wrong once a minute."""

    def __init__(self, hub, clients, directory, chance, full_disk):
        self.hub, self.clients, self.directory, self.chance = hub, clients, directory, chance
        self.kinds = [self.kill, self.lock, self.move, self.deaf, *([self.full] if full_disk else [])]

    async def kill(self):
        self.hub.process.kill()
        self.hub.process.wait()
        await asyncio.sleep(1)
        self.hub.start()

    async def lock(self):
        db = sqlite3.connect(self.hub.database, timeout=30, isolation_level=None)
        db.execute("BEGIN EXCLUSIVE")
        await asyncio.sleep(12)
        db.execute("ROLLBACK")
        db.close()

    async def move(self):
        pause = os.path.join(self.directory, "pause")
        open(pause, "w").close()
        while not all(os.path.exists(f"{pause}.{name}") for name in self.writers):
            await asyncio.sleep(0.1)
        away = os.path.join(self.directory, "away.db")
        os.rename(self.hub.database, away)
        await asyncio.sleep(4)
        os.rename(away, self.hub.database)
        for name in [pause, *(f"{pause}.{name}" for name in self.writers)]:
            os.remove(name)

    async def deaf(self):
        for client in self.chance.sample(self.clients, max(1, len(self.clients) // 20)):
            client.deaf_until = time.monotonic() + 30

    async def full(self):
        filler = os.path.join(self.directory, "filler")
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError:
                pass
        await asyncio.sleep(8)
        os.remove(filler)

    async def run(self, stop, every):
        number = 0
        order = []
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), every)
                return
            except TimeoutError:
                pass
            if not order:
                order = self.chance.sample(self.kinds, len(self.kinds))
            kind = order.pop()
            number += 1
            print(f"{time.strftime('%H:%M:%S')} fault {number}: {kind.__name__}", flush=True)
            await kind()


def slope(samples, of):
    """Growth a minute by least squares, over the second half: the first one warms up."""
    samples = samples[len(samples) // 2 :]
    if len(samples) < 3:
        return 0.0
    times, values = [sample[0] / 60 for sample in samples], [sample[of] for sample in samples]
    mean_time, mean_value = sum(times) / len(times), sum(values) / len(values)
    square = sum((at - mean_time) ** 2 for at in times)
    return sum((at - mean_time) * (value - mean_value) for at, value in zip(times, values)) / square


def verdict(database, clients):
    db = sqlite3.connect(database, timeout=30)
    order = {alarm: seq for alarm, seq in db.execute("SELECT alarm_id, seq FROM alarm_index")}
    audience = dict(db.execute("SELECT id, max(user_id) FROM alarm GROUP BY id"))
    lost = doubled = disordered = overheard = told = 0
    for client in clients:
        if client.start is None:
            print(f"{client.user} never got a hello: {dict(client.counts)}")
            lost += 1
            continue
        wanted = {
            alarm for alarm, seq in order.items() if seq > client.start and audience[alarm] in (None, client.user)
        }
        got = collections.Counter(client.alarms)
        told += len(client.alarms)
        missing = wanted - got.keys()
        twice = [alarm for alarm, times in got.items() if times > 1]
        foreign = [alarm for alarm in got if audience.get(alarm) not in (None, client.user)]
        places = [order[alarm] for alarm in client.alarms if alarm in order]
        swapped = sum(later <= earlier for earlier, later in zip(places, places[1:]))
        if missing or twice or swapped or foreign:
            print(
                f"{client.user} ({client.kind}, from {client.start}): lost {sorted(missing)[:3]}, "
                f"twice {twice[:3]}, out of order {swapped}, overheard {foreign[:3]}, {dict(client.counts)}"
            )
        lost, doubled = lost + len(missing), doubled + len(twice)
        disordered, overheard = disordered + swapped, overheard + len(foreign)
    return len(order), told, lost, doubled, disordered, overheard


async def soak(arguments, directory, full_disk):
    chance = random.Random(arguments.seed)
    database = os.path.join(directory, "alarms.db")
    subprocess.run([arguments.binary, "init", "--db", database], check=True)
    log = open(os.path.join(arguments.log_directory, "hub.log"), "wb")
    hub = Hub(arguments.binary, database, log)
    hub.start()
    kinds = ["steady"] * 5 + ["switcher"] * 2 + ["dropper"] * 2 + ["slow"]
    clients = [Client(number, kinds[number % len(kinds)], hub, chance) for number in range(arguments.clients)]
    stop, calm = asyncio.Event(), asyncio.Event()
    trouble = Trouble(hub, clients, directory, chance, full_disk)
    readers = [asyncio.create_task(client.run(stop)) for client in clients]
    while not all(client.start is not None for client in clients):
        await asyncio.sleep(0.1)
    print(f"{len(clients)} clients are connected", flush=True)
    ended = os.path.join(directory, "stop")
    trouble.writers = [f"writer{number}-{arguments.clients}" for number in range(3)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database, name, str(chance.random()), ended, os.path.join(directory, "pause")]
        )
        for name in trouble.writers
    ]
    faults = asyncio.create_task(trouble.run(calm, arguments.every))
    finish = time.monotonic() + arguments.minutes * 60
    while time.monotonic() < finish:
        await asyncio.sleep(5)
        hub.sample()
    calm.set()
    await faults
    open(ended, "w").close()
    for writer in writers:
        while writer.poll() is None:
            await asyncio.sleep(0.1)
    # Everybody catches up: each client must come to the head of the log, or it never will.
    head = sqlite3.connect(database).execute("SELECT max(seq) FROM alarm_index").fetchone()[0]
    patience = time.monotonic() + 120
    behind = clients
    while behind and time.monotonic() < patience:
        await asyncio.sleep(1)
        behind = [client for client in clients if int((client.last_id or "0.0").split(".")[1]) < head]
    print(f"{len(behind)} clients did not come to the end: {[client.user for client in behind[:5]]}")
    await asyncio.sleep(2)
    for reader in readers:
        if reader.done():
            reader.result()  # it ended by an error of this program
        reader.cancel()
    hub.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(hub.process.wait, 30)
    counts = sum((client.counts for client in clients), collections.Counter())
    alarms, told, *wrong = verdict(database, clients)
    print(f"alarms committed {alarms}, told {told}, {dict(counts)}")
    longest = max(hub.lives, key=len)
    print(
        f"hub: exit code {code}, {len(hub.lives)} lives; in the longest ({len(longest) * 5} s) memory "
        f"{longest[-1][1] / 1024:.1f} MiB, {slope(longest, 1):+.1f} kB a minute, descriptors {longest[-1][2]}, "
        f"{slope(longest, 2):+.2f} a minute"
    )
    print("lost {}, doubled {}, out of order {}, overheard {}".format(*wrong))
    return any(wrong) or bool(behind) or code != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--every", type=float, default=60, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--log-directory", default=tempfile.gettempdir())
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    directory = tempfile.mkdtemp(prefix="alarm-hub-soak-")
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", directory], stderr=subprocess.DEVNULL
    ).returncode
    if not mounted:
        print("LEFT OUT: a full disk needs root, for a small file system of its own")
    try:
        failed = asyncio.run(soak(arguments, directory, mounted))
    finally:
        if mounted:
            subprocess.run(["umount", "-l", directory])
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
