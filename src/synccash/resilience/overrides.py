"""Process-wide overrides of all policies, set by `synccash.resilience.testing`.

`waiting`: whether policies wait before a retry. `attempts`: the limit of attempts per call; None: no limit.
Policies read them only after a failed attempt.
"""

waiting: bool = True
attempts: int | None = None
