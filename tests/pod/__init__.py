"""The sidecar in a real pod: its image, what the chart renders, a model server and two datacenters."""
