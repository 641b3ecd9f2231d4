# Training: Weir with torch. Workers have an image of their own, without it.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/weir
# Where to find smaller torch wheels, e.g. those for CPUs only; pip reads it from the environment.
ARG PIP_EXTRA_INDEX_URL
# Without sources the package is empty: this layer holds the dependencies, and survives code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN /opt/weir/bin/pip install --no-cache-dir --constraint constraints.txt '.[train]'
COPY models models
COPY stream stream
COPY trainer trainer
RUN /opt/weir/bin/pip install --no-cache-dir --no-deps --force-reinstall .

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
        /var/lib/weir /srv/weir/registry /srv/weir/examples
COPY --from=build /opt/weir /opt/weir
ENV PATH=/opt/weir/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WEIR_MODEL__REGISTRY=/srv/weir/registry \
    WEIR_TRAINER__STORE=/srv/weir/examples
USER 10001:10001
WORKDIR /var/lib/weir
ENTRYPOINT ["weir"]
CMD ["trainer"]
