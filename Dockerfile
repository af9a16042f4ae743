# docker build -t veylor .
# docker run -v "$PWD/config.yaml:/etc/veylor/config.yaml:ro" -p 127.0.0.1:8765:8765 veylor
#
# Inside, endpoints must listen at 0.0.0.0; what is reachable from outside, -p says.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools
WORKDIR /veylor
COPY . .
RUN rustup target add "$(uname -m)-unknown-linux-musl" \
    && cargo build --release --locked --target "$(uname -m)-unknown-linux-musl" \
    && cp "target/$(uname -m)-unknown-linux-musl/release/veylor" /veylor.static

FROM scratch
COPY --from=build /veylor.static /veylor
# A folder of its own: the sandbox lets everything be read that is beside the configuration.
WORKDIR /etc/veylor
USER 65534:65534
STOPSIGNAL SIGTERM
ENTRYPOINT ["/veylor"]
