"""Mutation testing: the code is changed in one small place, and a module's own tests should notice.

`make mutants` runs it (`python -m tests.mutants --help`). `mutation` makes the changes, `modules` says which modules
are changed and which tests are theirs, `trial` runs those tests against a change, `accepted.toml` lists the survivors
that are fine, each with the reason.

An implementation of its own, about as long as the configuration and glue that a library would need:

* mutmut 3 changes functions only, not the constants and tables of a module, where this project keeps its bounds. It
  wraps each function in a trampoline, which the tests of signatures, slots and generators notice, and it chooses tests
  by coverage of the whole suite, which takes minutes, where the question here is what a module's own tests are worth.
* cosmic-ray starts a new pytest for each change (1 to 2 s of imports, here saved by a fork), runs one command whatever
  module has changed, and removes no statements.
* Both accept a survivor by a comment in the source. Here it is a list, so that the code stays as it is.
"""
