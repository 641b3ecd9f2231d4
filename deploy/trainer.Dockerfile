# Training: Weir with torch. Workers have an image of their own, without it.
FROM python:3.11-slim AS build
# The compiler is for feature extraction, of which rebuilds do as much as workers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /opt/weir
# Where to find smaller torch wheels, e.g. those for CPUs only; pip reads it from the environment.
ARG PIP_EXTRA_INDEX_URL
# Without sources the package is empty: this layer holds the dependencies, and survives code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN /opt/weir/bin/pip install --no-cache-dir --constraint constraints.txt '.[train,sign]'
COPY weir weir
COPY models models
COPY stream stream
COPY trainer trainer
RUN /opt/weir/bin/pip install --no-cache-dir --no-deps --force-reinstall .
WORKDIR /
# A package whose compiler or headers were missing installs all the same, ten times slower.
RUN /opt/weir/bin/python -c "from models.features import _scan"

FROM python:3.11-slim
# What LightGBM's threads need.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# A volume that is mounted over these folders for the first time takes their owner.
RUN groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/weir \
        --shell /usr/sbin/nologin weir \
    && install --directory --owner=weir --group=weir \
        /var/lib/weir /srv/weir/registry /srv/weir/examples /srv/weir/scratch
COPY --from=build /opt/weir /opt/weir
COPY deploy/healthcheck.py /opt/weir/bin/healthcheck.py
# The commit that the image is built from, for weir_build_info: --build-arg BUILD_REVISION=...
ARG BUILD_REVISION=""
# A rebuild lays its rows out in the scratch folder, and `weir train` in TMPDIR, which has to be a
# disk: in memory they count against it.
ENV PATH=/opt/weir/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BUILD_REVISION=$BUILD_REVISION \
    METRICS_PORT=9464 \
    TMPDIR=/srv/weir/scratch \
    WEIR_TRAINER__SCRATCH=/srv/weir/scratch \
    WEIR_TRAINER__METRICS_PORT=9464 \
    WEIR_MODEL__REGISTRY=/srv/weir/registry \
    WEIR_TRAINER__STORE=/srv/weir/examples
USER 10001:10001
WORKDIR /var/lib/weir
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/weir/bin/healthcheck.py"]
ENTRYPOINT ["weir"]
CMD ["trainer"]
