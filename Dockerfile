# qperf-app in a container: no network, no particular uid and no writable root or HOME needed at run time.
#
#   docker build --tag qperf-app .
#   docker run --rm --network none --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" \
#     --volume "$PWD/bids:/data:ro" --volume "$PWD/out:/out" --volume "$PWD/work:/work" \
#     qperf-app /data /out participant --work-dir /work
#
# Only OUT_DIR, the work directory and /tmp are written. docs/clusters.md has Apptainer, Podman and a build without network.

FROM docker.io/library/python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
RUN python3 -m venv /opt/qperf-app
# The locked dependencies first: this layer stays as long as the lock does. pip compiles the bytecode, which a
# read-only container couldn't write later; TensorFlow takes twice as long to import without it.
COPY requirements.txt /src/
RUN /opt/qperf-app/bin/python -m pip install --compile --require-hashes --no-deps --requirement /src/requirements.txt
COPY setup.cfg pyproject.toml README.md LICENSE /src/
COPY bids_spec /src/bids_spec
COPY plugins /src/plugins
COPY qperf_app /src/qperf_app
RUN /opt/qperf-app/bin/python -m pip install --compile --no-deps --no-build-isolation /src \
    && /opt/qperf-app/bin/python -m pip check \
    # What only a compiler or an installer needs makes half a gigabyte of nothing at run time.
    && cd /opt/qperf-app/lib/python3*/site-packages \
    && rm -rf tensorflow/include clang libclang* pip pip-* && rm -f /opt/qperf-app/bin/pip*


FROM docker.io/library/python:3.11-slim

LABEL org.opencontainers.image.title="qperf-app" \
      org.opencontainers.image.description="BIDS App for quantitative first-pass myocardial perfusion MRI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim"

COPY --from=build /opt/qperf-app /opt/qperf-app
# HOME may be anything at run time: qperf-app keeps its caches in the work directory, other tools keep theirs in /tmp.
# Packages in a user's HOME never shadow the image's own. Nothing asks the network for its newest version.
ENV PATH="/opt/qperf-app/bin:${PATH}" \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    MPLBACKEND=Agg \
    DENO_NO_UPDATE_CHECK=1 \
    NIPYPE_NO_ET=1 \
    NO_ET=1 \
    TF_CPP_MIN_LOG_LEVEL=2

USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/opt/qperf-app/bin/qperf-app"]
CMD ["--help"]
