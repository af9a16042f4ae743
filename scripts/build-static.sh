#!/usr/bin/env bash
# Builds veylor as one static program, which runs on any Linux of the machine's kind, and shows that it does.
#
#     scripts/build-static.sh                  # everything
#     scripts/build-static.sh --small          # for devices: no default features, optimised for size
#     scripts/build-static.sh --small --features tls
#     TARGET=aarch64-unknown-linux-musl scripts/build-static.sh
#
# Arguments besides --small go to cargo. BUILD_STD=1 takes the second of the two ways that docs/static.md
# tells of.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${TARGET:-$(uname -m)-unknown-linux-musl}
profile=release
arguments=()
for argument in "$@"; do
    if [[ $argument == --small ]]; then
        profile=small
        arguments+=(--no-default-features)
    else
        arguments+=("$argument")
    fi
done
folder=${CARGO_TARGET_DIR:-target}
compiler_variable=CC_${target//-/_}

say() { echo "==> $*"; }

has_target() {
    local library
    library=$(rustc --print target-libdir --target "$target" 2>/dev/null) && [[ -d $library ]]
}

# C code (ring) wants a compiler for the target; for this machine's kind musl-gcc is one.
compiler() {
    if [[ -z ${!compiler_variable:-} && $target == "$(uname -m)"-* ]] && command -v musl-gcc >/dev/null; then
        export "$compiler_variable=musl-gcc"
    fi
}

# It aborts when it panics: no tables for unwinding, and the code that would read them is never found. Whoever asks
# for a backtrace is told that there is none; nobody else asks.
without_unwinder() {
    local name flags="-C link-arg=--no-eh-frame-hdr -C link-arg=-T$PWD/scripts/no-unwinding.ld"
    flags+=" -C link-arg=--defsym=_Unwind_Backtrace=getpid"
    for name in FindEnclosingFunction GetCFA GetDataRelBase GetIP GetIPInfo GetLanguageSpecificData GetRegionStart \
        GetTextRelBase Resume SetGR SetIP; do
        flags+=" -C link-arg=--defsym=_Unwind_$name=abort"
    done
    echo "$flags"
}

# The standard library is there already. The toolchain's own linker needs no gcc for the target.
build_with_target() {
    local upper=${target^^} flags="-C target-feature=+crt-static"
    local linker_variable=CARGO_TARGET_${upper//-/_}_LINKER
    if [[ -z ${!linker_variable:-} ]]; then
        export "$linker_variable=rust-lld"
        flags+=" -C link-arg=--pack-dyn-relocs=relr -C link-arg=--icf=all $(without_unwinder)"
        # For devices, what several functions have in common becomes one of its own.
        [[ $profile == small ]] && flags+=" -C llvm-args=-enable-machine-outliner=always"
    fi
    RUSTFLAGS="$flags ${RUSTFLAGS:-}" \
        cargo build --locked --profile "$profile" --target "$target" "${arguments[@]}"
}

# The standard library is built from source, by Debian's compiler (rustc-web cargo-web rust-web-src musl-tools).
build_with_std() {
    local libraries=$PWD/$folder/static-libraries gcc std=() flags=""
    # For devices, without the part that reads debug information for backtraces.
    if [[ $profile == small ]]; then
        std=(-Zbuild-std-features=optimize_for_size)
        flags="-C link-arg=-Wl,--no-eh-frame-hdr,-T,$PWD/scripts/no-unwinding.ld"
    fi
    [[ $folder == /* ]] && libraries=$folder/static-libraries
    mkdir -p "$libraries"
    # gcc's unwinder asks glibc for one thing that musl has not; told that there is none, it finds
    # another way.
    printf 'int _dl_find_object(void *a, void *b) { return -1; }\n' >"$libraries/stub.c"
    musl-gcc -O2 -c "$libraries/stub.c" -o "$libraries/stub.o"
    gcc=$(gcc -print-file-name=libgcc_eh.a)
    cp "$gcc" "$libraries/libunwind.a"
    ar r "$libraries/libunwind.a" "$libraries/stub.o"
    PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        RUSTFLAGS="-C linker=musl-gcc -C link-self-contained=no -C target-feature=+crt-static \
-C panic=abort -C relocation-model=static -L native=$libraries $flags" \
        /usr/bin/cargo build --locked --profile "$profile" --target "$target" \
        -Zbuild-std=std,panic_abort "${std[@]}" "${arguments[@]}"
}

# The demo with a client that knows nothing of Veylor: two ticks over the Unix socket.
try() {
    local program=$1 socket process
    socket=$(mktemp -u "${TMPDIR:-/tmp}/veylor-static-XXXXXX.sock")
    "$program" demo --port 0 --unix "$socket" >/dev/null 2>&1 &
    process=$!
    if ! timeout 20 python3 - "$socket" <<'PYTHON'
import os, socket, struct, sys, time

while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
with socket.socket(socket.AF_UNIX) as feed:
    feed.connect(sys.argv[1])
    stream = feed.makefile("rb")
    for _ in range(2):
        (length,) = struct.unpack(">I", stream.read(4))
        print("   ", stream.read(length).decode())
PYTHON
    then
        kill "$process"
        say "the demo does not relay" >&2
        return 1
    fi
    kill "$process"
    wait "$process"
}

compiler
if [[ -z ${BUILD_STD:-} ]] && has_target; then
    say "$target, with the toolchain's standard library"
    build_with_target
elif [[ $target == x86_64-* && -x /usr/bin/cargo && -d /usr/lib/rustlib/src ]]; then
    say "$target, with a standard library built from source"
    build_with_std
else
    cat >&2 <<EOF
There is no standard library for $target. One of these makes it:
    rustup target add $target
    apt-get install rustc-web cargo-web rust-web-src musl-tools    # Debian 12, x86_64
EOF
    exit 1
fi

program=$folder/$target/$profile/veylor
say "$program"
file -b "$program"
if ! file -b "$program" | grep -Eq 'statically linked|static-pie linked'; then
    say "not static" >&2
    exit 1
fi
bytes=$(stat -c %s "$program")
say "$bytes bytes, $(awk "BEGIN {printf \"%.2f\", $bytes / 1048576}") MiB"
if ! "$program" --version 2>/dev/null; then
    say "cannot run here: it is for ${target%%-*}"
    exit 0
fi
say "the demo, to a Unix client:"
try "$program"
