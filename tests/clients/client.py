"""Prints what a client library makes of an event stream, one JSON object an event. Usage: client.py LIBRARY URL

Where a library does not come back by itself, it is opened again with the last id, as its users do.
"""

import asyncio
import json
import sys
import time


def tell(event, data, last_id):
    print(json.dumps({"event": event, "data": data, "id": last_id}), flush=True)
    return last_id


def headers(last_id):
    return {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}


def httpx_sse(url, last_id):
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client(timeout=None, trust_env=False) as client:
        with connect_sse(client, "GET", url, headers=headers(last_id)) as source:
            for event in source.iter_sse():
                yield event.event, event.data, event.id


def sseclient(url, last_id):
    import requests
    from sseclient import SSEClient

    response = requests.get(url, stream=True, headers=headers(last_id))
    for event in SSEClient(response).events():
        yield event.event, event.data, event.id


def aiohttp(url, last_id):
    from aiohttp_sse_client.client import EventSource

    async def opened():
        source = EventSource(url, headers=headers(last_id))
        await source.connect()
        return source

    async def closed(source):
        await source.close()
        await source._session.close()

    with asyncio.Runner() as runner:
        source = runner.run(opened())
        try:
            while True:
                event = runner.run(source.__anext__())
                yield event.type, event.data, event.last_event_id
        finally:
            runner.run(closed(source))


def main(library, url):
    last_id = None
    while True:
        try:
            for event, data, event_id in globals()[library](url, last_id):
                last_id = tell(event, data, event_id)
        except Exception as error:  # whatever the library raises when a connection breaks
            print(f"{library}: {error!r}", file=sys.stderr, flush=True)
        time.sleep(0.2)


main(*sys.argv[1:])
