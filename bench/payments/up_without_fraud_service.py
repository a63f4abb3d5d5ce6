"""`synccash up` without a fraud service: `python -m bench.payments.up_without_fraud_service up …`.

`synccash up` always sets the address of the sandbox's fraud service, and no setting removes it.
"""

from collections.abc import Mapping
from typing import Any

from synccash import cli
from synccash.local import up


class _UpWithoutFraudService(up.Up):
    def _environment(self, *given: Any) -> dict[str, str]:
        environment: Mapping[str, str] = super()._environment(*given)
        return {name: value for name, value in environment.items() if name != "SYNCCASH_FRAUD_URL"}


if __name__ == "__main__":
    up.Up = _UpWithoutFraudService
    cli.main()
