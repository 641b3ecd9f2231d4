# Everything but training: workers, feedback, topics, replay. No torch.
FROM python:3.11-slim AS build
# The compiler is for feature extraction; without one the package falls back to Python.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /opt/weir
# Without sources the package is empty: this layer holds the dependencies, and survives code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN /opt/weir/bin/pip install --no-cache-dir --constraint constraints.txt '.[sign]'
COPY weir weir
COPY models models
COPY stream stream
COPY trainer trainer
RUN /opt/weir/bin/pip install --no-cache-dir --no-deps --force-reinstall .
WORKDIR /
# A package whose compiler or headers were missing installs all the same, ten times slower.
RUN /opt/weir/bin/python -c "from models.features import _scan"

FROM python:3.11-slim
# A volume that is mounted over these folders for the first time takes their owner.
RUN groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/weir \
        --shell /usr/sbin/nologin weir \
    && install --directory --owner=weir --group=weir \
        /var/lib/weir /srv/weir/registry /srv/weir/examples
COPY --from=build /opt/weir /opt/weir
# The commit that the image is built from, for weir_build_info: --build-arg BUILD_REVISION=...
ARG BUILD_REVISION=""
COPY deploy/healthcheck.py /opt/weir/bin/healthcheck.py
ENV PATH=/opt/weir/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BUILD_REVISION=$BUILD_REVISION \
    METRICS_PORT=9464 \
    WEIR_WORKER__METRICS_PORT=9464 \
    WEIR_MODEL__REGISTRY=/srv/weir/registry \
    WEIR_TRAINER__STORE=/srv/weir/examples
USER 10001:10001
WORKDIR /var/lib/weir
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/opt/weir/bin/healthcheck.py"]
ENTRYPOINT ["weir"]
CMD ["worker"]
