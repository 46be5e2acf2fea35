"""A long run: hours of trouble in minutes, and what must hold all the while.

`python -m tests.longrun` runs it, on the hosts that `tests.netns` makes of network namespaces.

`schedule` says what happens when, as a function of a seed and a length. `client` posts, a process of its own;
`lives` starts, kills and restarts the sidecar, `samples` looks at it every second, `run` does all that is
scheduled. `records` reads what was written down, `findings` judges it, `report` and `picture` show it.
"""
