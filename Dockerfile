# One image a workload: docker build --build-arg WORKLOAD=svc-ledger -t causeway/svc-ledger .
# The build stage is the same for all five, so its layers are shared.
FROM rust:1.95-bookworm AS build
# cmake builds the zlib of pingora-core.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG CAUSEWAY_GIT_SHA=unknown
ENV CAUSEWAY_GIT_SHA=${CAUSEWAY_GIT_SHA}
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --bins \
    && mkdir -p /out/share \
    && cp target/release/edge target/release/svc-accounts target/release/svc-cache target/release/svc-docs \
          target/release/svc-ledger /out/ \
    && target/release/dev descriptors /out/share/causeway.binpb

# No shell, no package manager, no root.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG WORKLOAD
COPY --from=build /out/share/causeway.binpb /usr/share/causeway/causeway.binpb
COPY --from=build /out/${WORKLOAD} /usr/local/bin/workload
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/workload"]
