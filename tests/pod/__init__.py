"""The sidecar in a real pod: the image, the rendered chart, a model server and two datacenters."""
