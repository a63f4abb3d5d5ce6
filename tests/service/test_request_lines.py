"""The requests that `synccash up` prints: one line each, on a terminal in colour."""

import contextlib
import io
import json
import os

import pytest

from synccash.local.request_lines import RequestLines, is_coloured, request_text, resolved

REQUEST = {
    "event": "request",
    "timestamp": "2026-03-02T02:00:01.123Z",
    "method": "POST",
    "route": "/api/v1/payments",
    "status": 201,
    "took_ms": 12.34,
    "order_id": "pay_1",
}
LINE = "02:00:01  201  POST  /api/v1/payments  12 ms  pay_1"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def followed(tmp_path):
    log = tmp_path / "api.log"
    log.write_text(json.dumps({**REQUEST, "order_id": "pay_old"}) + "\n")
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        lines = RequestLines([log], stream, "text", False)
        lines.skip_old()
        yield log, lines, read
        os.set_blocking(read, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(read, 1 << 16):
                pass
    os.close(read)


def append(log, text):
    with log.open("a") as file:
        file.write(text)


def test_a_request_is_one_readable_line():
    assert request_text(REQUEST, colour=False) == LINE
    refused = {**REQUEST, "status": 422, "code": "invalid_request", "order_id": None}
    assert request_text(refused, colour=False).endswith("422  POST  /api/v1/payments  12 ms  invalid_request")


def test_the_status_is_coloured_on_a_terminal_unless_no_color_is_set():
    assert "\x1b[32m201\x1b[0m" in request_text(REQUEST, colour=True)
    assert is_coloured(Terminal(), {})
    assert not is_coloured(Terminal(), {"NO_COLOR": "1"})
    assert not is_coloured(io.StringIO(), {})


def test_output_that_is_no_terminal_gets_json_lines():
    assert resolved("auto", io.StringIO()) == "json"
    assert resolved("auto", Terminal()) == "text"
    assert resolved("off", Terminal()) == "off"


def test_new_requests_are_printed_and_other_lines_are_not(followed):
    log, lines, read = followed
    append(log, json.dumps({"event": "breaker_opened"}) + "\n" + json.dumps(REQUEST) + "\n")
    lines.forward()
    assert os.read(read, 10_000).decode() == LINE + "\n"


def test_a_line_is_printed_once_it_is_complete(followed):
    log, lines, read = followed
    lines.kind = "json"
    text = json.dumps(REQUEST)
    append(log, text[:20])
    lines.forward()
    append(log, text[20:] + "\n")
    lines.forward()
    lines.forward()
    assert os.read(read, 10_000).decode() == text + "\n"


def test_a_reader_that_stops_reading_does_not_hold_up_the_supervisor(followed):
    log, lines, _ = followed
    append(log, (json.dumps(REQUEST) + "\n") * 3_000)
    for _ in range(10):
        lines.forward()
