#!/usr/bin/env python3
"""Ends a hub under 2,000 clients: how long it takes, whether each is told, and how far their returns are spread.

    bench/drain.py target/release/alarm-hub [clients]
"""

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time


async def stream(port, number):
    """Opens a stream, however often the hub is too busy for one more."""
    head = f"GET /connection/u{number} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        try:
            return reader, writer, await reader.readuntil(b"event: hello")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()
            await asyncio.sleep(1)


async def client(port, number, opened):
    """What the hub said last to one client, and when the stream ended."""
    reader, writer, said = await stream(port, number)
    opened.release()
    try:
        while more := await reader.read(65536):
            said += more
    except ConnectionResetError:
        pass
    ended = time.monotonic()
    writer.close()
    bye = re.findall(rb"event: bye\r?\ndata: (.*)", said)
    return ended, json.loads(bye[-1]) if bye else None


async def measure(binary, clients):
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "--listen", "127.0.0.1:0", "--log", "off"]
        hub = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        port = int(re.search(r":(\d+)/", hub.stdout.readline()).group(1))
        try:
            return await drain(hub, port, clients)
        finally:
            hub.kill()


async def drain(hub, port, clients):
    opened = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(client(port, number, opened)) for number in range(clients)]
    for _ in range(clients):
        await asyncio.wait_for(opened.acquire(), 60)
    began = time.monotonic()
    hub.send_signal(signal.SIGTERM)
    ends = await asyncio.gather(*tasks)
    code = await asyncio.to_thread(hub.wait, 60)
    exited = time.monotonic() - began
    byes = [bye for _, bye in ends if bye and bye["reason"] == "shutdown"]
    returns = sorted(bye["retry_ms"] / 1000 for bye in byes)
    a_second = [sum(1 for after in returns if second <= after < second + 1) for second in range(40)]
    return {
        "clients": clients,
        "told_bye_shutdown": len(byes),
        "last_stream_ended_s": round(max(ended for ended, _ in ends) - began, 3),
        "process_ended_s": round(exited, 3),
        "exit_code": code,
        "returns_from_s": returns[0] if returns else None,
        "returns_to_s": returns[-1] if returns else None,
        "most_returns_in_a_second": max(a_second),
    }


def main():
    binary, clients = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    measured = asyncio.run(measure(binary, clients))
    print(json.dumps(measured, indent=2))
    sys.exit(measured["told_bye_shutdown"] != clients or measured["exit_code"] != 0)


main()
