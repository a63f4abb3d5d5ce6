"""The hostile merchant's servers, as a process: webhook endpoints and a name server that stop answering.

`python -m bench.tenants.tarpit` prints its HTTP and its DNS port. An endpoint answers its challenge, and
hangs for everything else. The name server answers 127.0.0.1 while stdin says so: `answer` or `silent`.
"""

import asyncio
import json
import os
import sys
import threading
from typing import Any


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with 127.0.0.1, unless it is silent."""

    silent = False

    def __init__(self) -> None:
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if NameServer.silent:
            return
        end = data.index(b"\0", 12) + 5
        question, is_ipv4 = data[12:end], data[end - 4 : end - 2] == b"\0\1"
        # RFC 1035: the question again, and an A record of no lifetime with a pointer to its name.
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if is_ipv4 else b""
        counts = b"\0\1" + (b"\0\1" if is_ipv4 else b"\0\0") + b"\0\0\0\0"
        self._transport.sendto(data[:2] + b"\x81\x80" + counts + question + answer, addr)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        event = json.loads(await reader.readexactly(length))
        if event["type"] == "endpoint.verification":
            body = json.dumps({"challenge": event["data"]["object"]["challenge"]}).encode()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            return
        await reader.read()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until stdin ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    names, _ = await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    print(server.sockets[0].getsockname()[1], names.get_extra_info("sockname")[1], flush=True)

    def obey() -> None:
        for line in sys.stdin:
            NameServer.silent = line.strip() == "silent"
            print("done", flush=True)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=obey, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    os.nice(19)
    asyncio.run(main())
