#!/bin/sh
# Prints an access token of Restream. The file RESTREAM_STATE has a refresh token in its first line; the last access
# token and the second when it expires follow. It is written anew when a token is refreshed.
# Needs curl, and flock where several sources ask at once; RESTREAM_CLIENT_ID and RESTREAM_CLIENT_SECRET are in the
# environment.
set -eu
umask 077

: "${RESTREAM_CLIENT_ID:?}" "${RESTREAM_CLIENT_SECRET:?}" "${RESTREAM_STATE:?is the file with the refresh token}"
# An access token that lives for less is refreshed, in seconds.
min_life=300

# A refresh token is good for once: those who ask together take turns.
exec 9>"$RESTREAM_STATE.lock"
flock 9

refresh=$(sed -n 1p "$RESTREAM_STATE")
access=$(sed -n 2p "$RESTREAM_STATE")
expires=$(sed -n 3p "$RESTREAM_STATE")
now=$(date +%s)
if [ -n "$access" ] && [ "${expires:-0}" -gt $((now + min_life)) ]; then
    printf '%s\n' "$access"
    exit
fi

field() {
    printf '%s' "$answer" | sed -n "s/.*\"$1\" *: *\"*\([^\",}]*\).*/\1/p"
}

# Secrets go through a pipe: arguments can be seen by others on this machine.
answer=$(
    printf 'user = "%s:%s"\ndata = "grant_type=refresh_token&refresh_token=%s"\n' \
        "$RESTREAM_CLIENT_ID" "$RESTREAM_CLIENT_SECRET" "$refresh" |
        curl --silent --show-error --fail --max-time 8 --config - https://api.restream.io/oauth/token
)
access=$(field access_token)
printf '%s\n' "$(field refresh_token)" "$access" "$((now + $(field expires_in)))" >"$RESTREAM_STATE.new"
mv "$RESTREAM_STATE.new" "$RESTREAM_STATE"
printf '%s\n' "$access"
