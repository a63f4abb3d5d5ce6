"""What `synccash.resilience.testing` changes for all policies of a process. Live; read only after trouble."""

waiting: bool = True
attempts: int | None = None
