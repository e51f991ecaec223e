# The service as an image: the binary, the folder of its executions, and nothing else on top of the base.
#
# Builds with BuildKit and with Docker's older builder alike. A digest goes behind the tag:
#   RUST_IMAGE=rust:1.95-slim-bookworm@sha256:…
ARG RUST_IMAGE=rust:1.95-slim-bookworm
# libc, libgcc, certificates and the user 65532; no shell.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /build

# PID 1 of every container starts faster with musl (see build.rs); without it, it has glibc.
RUN if ! rustup target add "$(uname -m)-unknown-linux-musl"; then echo "the guest is built with glibc, or a musl that is here"; fi

# The dependencies by themselves, from the manifests and empty programs: this layer stays as it is
# until a manifest changes. What was made of the empty programs goes, because cargo compares times,
# and the real sources may be older than this layer.
COPY Cargo.toml Cargo.lock ./
COPY guest/Cargo.toml guest/
ARG FEATURES=""
# Another profile of Cargo.toml, as the test suite asks for; its image is larger and slower.
ARG PROFILE=release
RUN mkdir -p src guest/src guest/tests/life benches/speed tests/otel tests/soak \
    && for program in build.rs src/main.rs guest/src/main.rs guest/tests/life/main.rs benches/speed/main.rs tests/otel/main.rs \
        tests/soak/main.rs; do \
        echo 'fn main() {}' >"$program"; \
    done \
    && touch src/lib.rs guest/src/lib.rs \
    && cargo build --profile "${PROFILE}" --locked --features "${FEATURES}" \
    && cargo clean --profile "${PROFILE}" --package oncebox --package oncebox-guest \
    && mkdir /data

COPY build.rs ./
COPY guest guest
COPY src src
RUN cargo build --profile "${PROFILE}" --frozen --features "${FEATURES}" \
    && mv "target/${PROFILE}/oncebox" .

FROM ${RUNTIME_IMAGE}
COPY --from=build /build/oncebox /usr/local/bin/oncebox
# A new named volume takes its owner from here.
COPY --from=build --chown=65532:65532 /data /var/lib/oncebox
ENV ENGINE=docker \
    HOST=0.0.0.0 \
    PORT=8080 \
    EXECUTION_STORE=/var/lib/oncebox/executions.redb
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m --retries=3 CMD ["/usr/local/bin/oncebox", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/oncebox"]
CMD ["serve"]

# Last, because they differ from build to build.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG RUNTIME_IMAGE
LABEL org.opencontainers.image.title="Oncebox" \
    org.opencontainers.image.description="Runs a stranger's script in a container made for it alone and destroyed after it" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.base.name="${RUNTIME_IMAGE}"
