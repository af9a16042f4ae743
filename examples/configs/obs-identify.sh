#!/bin/sh
# Reads the Hello of OBS (obs-websocket 5) on stdin and prints the Identify that answers its challenge.
# Needs openssl; OBS_PASSWORD is in the environment.
set -eu

: "${OBS_PASSWORD:?is the password of obs-websocket}"
IFS= read -r hello

# The text of a field; those we look at are base64, so that nothing in them is escaped.
field() {
    printf '%s' "$hello" | sed -n "s/.*\"$1\" *: *\"\([A-Za-z0-9+/=]*\)\".*/\1/p"
}

hashed() {
    openssl dgst -sha256 -binary | openssl base64 -A
}

salt=$(field salt)
challenge=$(field challenge)
if [ -z "$challenge" ]; then
    # OBS asks for no password.
    echo '{"op":1,"d":{"rpcVersion":1}}'
    exit
fi
secret=$(printf '%s%s' "$OBS_PASSWORD" "$salt" | hashed)
printf '{"op":1,"d":{"rpcVersion":1,"authentication":"%s"}}\n' "$(printf '%s%s' "$secret" "$challenge" | hashed)"
