#!/usr/bin/env bash
# Builds a Debian package with the static program, the unit, the example configuration, manual pages and
# completions. Wants cargo-deb (cargo install cargo-deb), and what scripts/build-static.sh wants.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${TARGET:-$(uname -m)-unknown-linux-musl}
scripts/build-static.sh "$@"

# The words come from a program that runs here, whatever the package is for.
program=${CARGO_TARGET_DIR:-target}/$target/release/veylor
if ! "$program" --version >/dev/null 2>&1; then
    cargo build --locked
    program=${CARGO_TARGET_DIR:-target}/debug/veylor
fi
mkdir -p target/share/man
"$program" man >target/share/man/veylor.1
grep -Eo 'veylor\\-[a-z]+\(1\)' target/share/man/veylor.1 | sed -E 's/.*-([a-z]+)\(1\)/\1/' |
    while read -r command; do
        [[ $command == help ]] || "$program" man "$command" >"target/share/man/veylor-$command.1"
    done
"$program" completions bash >target/share/veylor.bash
"$program" completions zsh >target/share/_veylor
"$program" completions fish >target/share/veylor.fish

cargo deb --no-build --no-strip --target "$target"
