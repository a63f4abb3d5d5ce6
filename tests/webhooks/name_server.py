"""A DNS server for tests: all names have the same addresses; those under `silent.example` get no answer."""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_TYPE_A = 1
_TYPE_CNAME = 5
_TYPE_AAAA = 28


@dataclass(eq=False)
class NameServer(asyncio.DatagramProtocol):
    """`addresses`: the records of each name. `aliases`: names that lead to other names, without an address.
    `asked` has the names, with a queue of their arrivals."""

    addresses: Sequence[str] = ("127.0.0.1",)
    aliases: Mapping[str, str] = field(default_factory=dict)
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
        records = self._records(name, struct.unpack_from("!H", data, end)[0])
        header = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
        assert self.transport is not None
        self.transport.sendto(header + question + b"".join(records), addr)

    def _records(self, name: str, kind: int) -> list[bytes]:
        records, at = [], name
        while at in self.aliases and len(records) < 10:
            target = _labels(self.aliases[at])
            records.append(_labels(at) + struct.pack("!HHIH", _TYPE_CNAME, 1, 0, len(target)) + target)
            at = self.aliases[at]
        if records:
            return records
        for address in map(ipaddress.ip_address, self.addresses):
            if kind == (_TYPE_A if address.version == 4 else _TYPE_AAAA):
                packed = address.packed
                records.append(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed)
        return records


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


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
