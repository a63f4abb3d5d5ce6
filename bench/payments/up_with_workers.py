"""`synccash up` with as many worker processes as API processes:
`python -m bench.payments.up_with_workers up …`.

`synccash up` starts one worker, whatever `workers` (the number of API processes) is.
"""

from collections.abc import Mapping

from synccash import cli
from synccash.local import up
from synccash.local.supervisor import Program


class _UpWithWorkers(up.Up):
    def _start_background(self, environment: Mapping[str, str]) -> None:
        super()._start_background(environment)
        for number in range(2, self.loaded.settings.workers + 1):
            name = f"worker-{number}"
            argv = [*up._ME, "worker", "--child"]  # pyright: ignore[reportPrivateUsage]
            self.supervisor.add(Program(name=name, argv=argv, env=environment, log=self._log(name)))


if __name__ == "__main__":
    up.Up = _UpWithWorkers
    cli.main()
