# edgedst for those who want it in a container; on a board a virtual environment is smaller (docs/install.md).
#
#   docker build -t edgedst .
#   docker run --rm -v "$PWD/runs:/work/runs" --user "$(id -u):$(id -g)" edgedst train --budget-mb 50 --env HalfCheetah-v4
#
# Another machine's image: docker buildx build --platform linux/arm64 -t edgedst .
FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/edgedst
COPY CMakeLists.txt LICENSE README.md pyproject.toml /source/
COPY tools/compile_jobs.sh /source/tools/
COPY devices /source/devices
COPY export /source/export
COPY edgedst /source/edgedst
RUN /opt/edgedst/bin/pip install --no-cache-dir /source && /opt/edgedst/bin/pip uninstall --yes pip setuptools

# Without compiler and pip. The virtual environment finds the same /usr/bin/python3 here.
FROM debian:12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libstdc++6 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home edgedst \
    && install --directory --owner edgedst --group edgedst /work /work/runs
COPY --from=build /opt/edgedst /opt/edgedst
USER edgedst
WORKDIR /work
ENTRYPOINT ["/opt/edgedst/bin/edgedst"]
CMD ["--help"]
