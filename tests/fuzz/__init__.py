"""Input that nobody thought of: coverage-guided for three readers of bytes, generated for everything described.

`targets` holds what must be true of any input and `seeds` where the search begins; `__main__` searches (`make fuzz`),
an input at a time, for what takes the code where it has not been. `test_described` asks a running sidecar everything
that its description says may be asked. What was ever found stays in `found/`, and is tried by every test run.
"""
