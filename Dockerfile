# residua, to serve models. CPU is the default; with an NVIDIA GPU build with TORCH=cuda (docs/deploy.md):
#   docker build -t residua .
#   docker build -t residua:cuda --build-arg TORCH=cuda .
#   docker run --rm -p 8000:8000 -v ./models:/models:ro residua

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.13-slim-trixie AS build
COPY --from=uv /uv /bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY pyproject.toml uv.lock ./

# The versions of the lock; torch and torchvision apart, which have to come from one place: cpu, cu130, rocm6.4, ... are
# PyTorch's own indexes, cuda is PyPI, whose build brings CUDA along.
ARG TORCH=cpu
RUN uv export --frozen --no-default-groups --no-emit-project --no-hashes --extra serve --extra grpc --extra detect \
        -o locked.txt \
    && grep -E '^torch(vision)?==' locked.txt > torch.txt \
    && uv export --frozen --no-default-groups --no-emit-project --no-hashes --extra serve --extra grpc --extra detect \
        --prune torch --prune torchvision -o others.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv /opt/residua \
    && if [ "$TORCH" != cuda ]; then export UV_TORCH_BACKEND="$TORCH"; fi \
    && uv pip install --python /opt/residua -r torch.txt -r others.txt
COPY README.md LICENSE ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/residua --no-deps .

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="residua" \
      org.opencontainers.image.description="Residual networks that answer over HTTP and gRPC" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --home-dir /tmp residua && mkdir /models
COPY --from=build /opt/residua /opt/residua
ENV PATH=/opt/residua/bin:$PATH PYTHONUNBUFFERED=1 RESIDUA_CACHE=/tmp/residua MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /models
EXPOSE 8000 8001
# Asks the port that is served by default; a server on another one is asked by whoever runs the container.
HEALTHCHECK --start-period=60s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["residua"]
CMD ["serve", "/models/model.safetensors", "--host", "0.0.0.0", "--grpc-port", "8001"]
