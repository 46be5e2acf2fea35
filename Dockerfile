# The sidecar's image. With a timestamp it is the same, to the bit, for the same commit and base:
#
#   buildah build --timestamp "$(git log -1 --format=%ct)" --tag eventgate-sidecar .
#
# Any base with Python 3.11 or newer as python3 will do: --build-arg BASE=… Without a package index, give the wheels of
# requirements.txt and requirements-build.txt:
# --volume "$PWD/wheels:/wheels:ro" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
# requirements-otel.txt for an image that can make traces
ARG REQUIREMENTS=requirements.txt
WORKDIR /src
COPY . .
RUN scripts/install /opt/eventgate-sidecar "$REQUIREMENTS"

FROM ${BASE}
# Images of Python leave out the bytecode of its own library, and the root is read-only later. Compiling it at every
# start would take longer than the start.
RUN PYTHONHASHSEED=0 python3 -m compileall -q -f -j 1 --invalidation-mode unchecked-hash \
        -x '/(site-packages|dist-packages|test|idlelib|lib2to3|tkinter|turtledemo|ensurepip)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/eventgate-sidecar /opt/eventgate-sidecar
ENV PATH=/opt/eventgate-sidecar/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# A number, since runAsNonRoot can tell nothing from a name; it is that of Wikimedia's images.
USER 900:900
# Kubernetes has probes, and Knative allows none here.
HEALTHCHECK NONE
ENTRYPOINT ["eventgate-sidecar-init", "eventgate-sidecar"]
CMD ["serve"]
