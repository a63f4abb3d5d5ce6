"""The names under which `allow_insecure` allows a setting that is too weak for real money."""

import difflib

DATABASE_SSLMODE = "database_sslmode"
PUBLIC_URL_LOCALHOST = "public_url_localhost"
RAIL_HTTP = "rail_http"
TEST_CREDENTIALS = "test_credentials"
ALLOWANCES = (DATABASE_SSLMODE, PUBLIC_URL_LOCALHOST, RAIL_HTTP, TEST_CREDENTIALS)


def read_allowances(text: str) -> frozenset[str]:
    """Parse a list such as `database_sslmode, rail_http`. Raises ValueError that names an unknown one."""
    given = [part for part in (piece.strip() for piece in text.split(",")) if part]
    for name in given:
        if name not in ALLOWANCES:
            near = difflib.get_close_matches(name, ALLOWANCES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{name} is not one of {', '.join(ALLOWANCES)}{hint}")
    return frozenset(given)
