"""The bench: the sidecar and its peers side by side, on one machine, in one run.

Run it with `make bench`. `cases` says what is measured and which bars are held, `ways` how each proxy is set up,
`load` drives wrk, `processes` reads /proc, `figures` computes, and `report` and `picture` show.
"""
