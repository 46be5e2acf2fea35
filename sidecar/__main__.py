"""`python -m sidecar` is the same as `eventgate-sidecar`."""

from sidecar.cli import main

if __name__ == "__main__":
    main()
