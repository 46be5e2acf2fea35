"""Power loss: for every state in which a crash may leave the spool's files, every acknowledged event is found.

`load` is a process that uses the real spool and says what it was promised. `trace` runs it under strace and turns its
system calls into what it did to files (`disk.Op`). `disk` knows which of that was synced when the power went, and
builds the states in which the rest may be: each write kept, lost or torn between sectors, each new, renamed or removed
name kept or lost. `judge` opens a state with the real spool, and compares. `history` puts lives, kills and damage in a
row. `python -m tests.simulation.power` samples as many states as it is told.

What is assumed of a disk is what SQLite assumes (https://www.sqlite.org/atomiccommit.html): a sector of 512 bytes is
written or not, writing one damages no other, and what was synced stays. Names are synced with their directory only.
"""
