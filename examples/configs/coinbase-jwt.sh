#!/bin/sh
# Prints a JWT for the WebSocket feeds of Coinbase: signed with ES256, good for two minutes.
# Needs openssl; COINBASE_KEY_NAME and COINBASE_KEY_FILE (PEM) are in the environment.
set -eu

: "${COINBASE_KEY_NAME:?names the key}" "${COINBASE_KEY_FILE:?is the file of its private key}"

url_base64() {
    openssl base64 -A | tr '+/' '-_' | tr -d '='
}

# A signature in DER is two integers; a JWT has them as 32 bytes each.
joined_integers() {
    openssl asn1parse -inform DER | sed -n 's/.*INTEGER *://p' | while read -r integer; do
        integer=$(printf '%64s' "$integer" | tr ' ' '0')
        for byte in $(printf '%s' "$integer" | sed 's/../& /g'); do
            # shellcheck disable=SC2059
            printf "\\$(printf '%03o' "0x$byte")"
        done
    done
}

now=$(date +%s)
nonce=$(openssl rand -hex 16)
header=$(printf '{"alg":"ES256","typ":"JWT","kid":"%s","nonce":"%s"}' "$COINBASE_KEY_NAME" "$nonce" | url_base64)
claims=$(printf '{"sub":"%s","iss":"cdp","nbf":%d,"exp":%d}' "$COINBASE_KEY_NAME" "$now" $((now + 120)) | url_base64)
signature=$(printf '%s.%s' "$header" "$claims" |
    openssl dgst -sha256 -sign "$COINBASE_KEY_FILE" | joined_integers | url_base64)
printf '%s.%s.%s\n' "$header" "$claims" "$signature"
