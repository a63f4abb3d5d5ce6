"""A DNS server for tests: it answers each name with one address, but for those under `silent.example`."""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_TYPE_A = 1


@dataclass(eq=False)
class NameServer(asyncio.DatagramProtocol):
    """`address`: the A record of each name. `asked` has the names, with a queue of their arrivals."""

    address: str = "127.0.0.1"
    silent: bool = True
    asked: list[str] = field(default_factory=list)
    arrived: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    url: str = ""
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport
        host, port = transport.get_extra_info("sockname")
        self.url = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr) -> None:
        name, end = _name(data)
        self.asked.append(name)
        self.arrived.put_nowait(name)
        if self.silent and name.endswith("silent.example"):
            return
        question = data[12 : end + 4]
        if struct.unpack_from("!H", data, end)[0] == _TYPE_A:
            record = (
                struct.pack("!HHHIH", 0xC00C, _TYPE_A, 1, 0, 4) + ipaddress.ip_address(self.address).packed
            )
        else:
            record = b""
        header = data[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if record else 0, 0, 0)
        assert self.transport is not None
        self.transport.sendto(header + question + record, addr)


def _name(data: bytes) -> tuple[str, int]:
    at, labels = 12, []
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode())
        at += length + 1
    return ".".join(labels), at + 1


@asynccontextmanager
async def name_server(**options) -> AsyncGenerator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(**options), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
