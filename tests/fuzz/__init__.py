"""Fuzzing: coverage-guided for three parsers, and generated requests for the API that OpenAPI describes.

`targets` has the properties that must hold for any input, and `seeds` the first inputs. `__main__` searches
(`make fuzz`) for inputs that reach new code. `test_described` sends a running sidecar the requests that its description
allows. Every input that broke a property stays in `found/`, and each test run tries it.
"""
