#!/usr/bin/env bash
# Asks a session of claude-relay and prints its answer: ask.sh NAME QUESTION [SECONDS]
# A small client of the wire protocol with socat and jq. It does not come back to a hub that was lost: see ask.py.
# Exit status: 0 answered, 1 refused, 3 no hub, 4 timed out, 5 the session went away.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
to=$1 question=$2 seconds=${3:-120}
socket=${RELAY_SOCKET:-/run/user/$(id -u)/relay/hub.sock}

random() { od -An -N64 -tu1 /dev/urandom | tr -s ' \n' '\n\n' | sed '/^$/d'; }
letters=0123456789abcdefghjkmnpqrstvwxyz
ask_id=$(random | head -12 | while read -r n; do printf %s "${letters:n % 32:1}"; done | sed 's/..../&-/g; s/-$//')
key=$(random | head -16 | while read -r n; do printf %02x "$n"; done)

coproc HUB { exec socat - "UNIX-CONNECT:$socket" 2>/dev/null; }
exec {from}<&"${HUB[0]}" {into}>&"${HUB[1]}"
send() { jq -cn "$@" >&"$into"; }

send --arg key "$key" '{type: "hello", id: 1, versions: {min: 1, max: 1}, program: "ask.sh", kind: "control", key: $key}' ||
  { echo "no hub at $socket" >&2; exit 3; }
while read -r line <&"$from"; do
  member() { jq -r ".$1 // empty" <<<"$line"; }
  case $(member type) in
    welcome)
      send --arg id "$ask_id" --arg to "$to" --arg question "$question" --argjson ms "$((seconds * 1000))" \
        '{type: "ask", id: 2, ask_id: $id, to: $to, question: $question, timeout_ms: $ms}' ;;
    reply)
      send --arg id "$ask_id" --arg by "$(member by)" '{type: "taken", ask_id: $id, by: $by}'
      send '{type: "bye"}'
      member text
      exit 0 ;;
    failed)
      code=$(member code)
      echo "$code" >&2
      case $code in timeout) exit 4 ;; peer_gone) exit 5 ;; *) exit 1 ;; esac ;;
    error)
      printf '%s: %s\nnext: %s\n' "$(member code)" "$(member message)" "$(member next)" >&2
      exit 1 ;;
  esac
done
echo "no hub at $socket" >&2
exit 3
