"""The long run: hours of faults in minutes, and checks of what must hold throughout.

`python -m tests.longrun` runs it, on the hosts that `tests.netns` creates as network namespaces.

`schedule` has the times of all faults, as a function of a seed and a length. `client` posts, in a separate process.
`lives` starts, kills and restarts the sidecar, and samples it every second. `run` carries out the schedule. `records`
reads the recorded files, `findings` checks them, `report` and `picture` show the result.
"""
