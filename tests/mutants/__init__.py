"""Mutation testing: the code is changed in one small place, and the module's own tests should fail.

`make mutants` runs it (`python -m tests.mutants --help`). `mutation` makes the changes, `modules` says which modules
are changed and which tests are theirs, `trial` runs those tests against a change, `accepted.toml` lists the survivors
that are accepted, each with the reason.

Why no library is used; this is about as long as the configuration and glue for one:

* mutmut 3 changes functions only, not the constants and tables of a module, in which this project keeps its limits. It
  wraps each function in a trampoline, which tests of signatures, slots and generators notice. It chooses tests by
  coverage of the whole suite, which takes minutes; here only a module's own tests count.
* cosmic-ray starts a new pytest for each change (1 to 2 s of imports, which a fork saves here), runs the same command
  for every module, and removes no statements.
* Both accept a survivor by a comment in the source. Here a list has them, so the code needs no comments.
"""
