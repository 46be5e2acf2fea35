"""What all tests share."""

import asyncio

# looptime's plugin asks for the current loop before every test. Where no loop was ever set or unset, asyncio would
# make one for it, which nobody closes; from here on it is told that there is none.
asyncio.set_event_loop(None)
