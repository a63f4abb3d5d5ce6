"""Secret settings: text that is printed as `***`, in logs and tracebacks too, until code reveals it."""

import hmac
import re
from typing import Any, NoReturn, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

MASK = "***"
URL_HINT = "percent-encode every character of the password that is no letter or digit, such as %2F for /"
_HOST = re.compile(r"((\[[\w:.%]+\]|[\w.%-]+)(:\d*)?)?")
_PARAMETER = re.compile(r"(?P<name>[\w.-]+)=(?P<value>.*)", re.ASCII)
_PUBLIC_PARAMETERS = frozenset(
    {"host", "port", "user", "dbname", "db", "database", "sslmode", "target_session_attrs"}
)
"""Parameters of PostgreSQL's and Valkey's URLs that open nothing."""


class Secret:
    """A text that only `reveal` returns. Call it where the text is used, and keep what it returns nowhere.

    Not a dataclass and not a Struct on purpose: `asdict` and msgspec would look inside. Pickling raises
    TypeError. Equal to another Secret with the same text, compared in constant time; never equal to a `str`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encoded(self._text), _encoded(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled")


class SecretUrl(Secret):
    """A URL that may hold a password. Printed with its host and database, without password and parameters."""

    __slots__ = ()

    def __str__(self) -> str:
        return _masked_url(self._text)

    @property
    def readable(self) -> bool:
        """Whether password and host can be told apart. If not, errors of other programs may quote both."""
        return str(self) != MASK

    @property
    def scheme(self) -> str:
        """Return the part before the colon, in lower case."""
        return self._text.partition(":")[0].lower()

    def mask_in(self, text: str) -> str:
        """Return a text of another program, such as an error that quotes this URL, without its secret parts.

        Raises ValueError where the URL is not `readable`.
        """
        parts = urlsplit(self._text)
        found = [parts.password, *(v for n, v in parse_qsl(parts.query) if n not in _PUBLIC_PARAMETERS)]
        for secret in filter(None, found):
            for form in (secret, unquote(secret), quote(secret, safe="")):
                text = text.replace(form, MASK)
        return text


def decode_secret(kind: type[Any], value: object) -> Any:
    """Make a Secret of a text; msgspec's `dec_hook`. Raises TypeError, which msgspec turns into its own."""
    if not issubclass(kind, Secret):
        raise NotImplementedError
    if isinstance(value, kind):
        return value
    if not isinstance(value, str):
        raise TypeError(f"Expected `str | null`, got `{type(value).__name__}`")
    return kind(value)


def revealed(value: Secret | str) -> str:
    """Return the text of a value that may be secret."""
    return value.reveal() if isinstance(value, Secret) else value


def _encoded(text: str) -> bytes:
    # Environment variables that are not UTF-8 hold surrogates.
    return text.encode("utf-8", "surrogatepass")


def _masked_url(text: str) -> str:
    """Return the URL without what may be secret; `***` alone where it cannot be told which part that is."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return MASK
    account, at, hosts = parts.netloc.rpartition("@")
    if "://" not in text or _may_hold_password(parts) or not all(map(_HOST.fullmatch, hosts.split(","))):
        return MASK
    user, colon, _ = account.partition(":")
    shown = f"{user}:{MASK}" if colon else MASK
    query = "&".join(map(_masked_parameter, parts.query.split("&")))
    return (
        f"{parts.scheme}://{shown + at if at else ''}{hosts}{parts.path}"
        f"{'?' + query if parts.query else ''}{'#' + MASK if parts.fragment else ''}"
    )


def _may_hold_password(parts: SplitResult) -> bool:
    """True where a password with a reserved character that is not percent-encoded may have ended early: the
    rest of it would be shown as path, query or fragment."""
    if "@" in parts.path + parts.fragment:
        return ":" in parts.netloc + parts.path
    return "@" in parts.query and ":" in parts.netloc and "@" not in parts.netloc


def _masked_parameter(parameter: str) -> str:
    found = _PARAMETER.fullmatch(parameter)
    if found is None:
        return MASK
    return parameter if found["name"] in _PUBLIC_PARAMETERS else f"{found['name']}={MASK}"
