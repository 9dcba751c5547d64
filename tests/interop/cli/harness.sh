# Starts a server with one transport and one scenario of ../conf, and runs `nats` against it.
# Sourced by test.sh. Not for what a test checks: every test says that itself.

LIMIT_S=15 # how long anything that must happen may take

# serve TRANSPORT [SCENARIO]: starts a server; sets PID, URL and the flags that reach it.
serve() {
  cat "$INTEROP_CONF/$1.conf" ${2:+"$INTEROP_CONF/$2.conf"} >server.conf
  TRANSPORT=$1 FLAGS=()
  case $1 in tls | tls_first | wss | mtls) FLAGS+=(--tlsca "$INTEROP_CERTS/ca.pem") ;; esac
  [[ $1 != tls_first ]] || FLAGS+=(--tlsfirst)
  export NATS_PORT=-1 WEBSOCKET_PORT=-1
  start
}

start() {
  (cd "$INTEROP_CERTS" && exec "$INTEROP_SERVER" -c "$WORK/server.conf" --ports_file_dir "$WORK" \
    ${INTEROP_PLUGINS_DIR:+--plugins-dir "$INTEROP_PLUGINS_DIR"}) >>server.log 2>&1 &
  PID=$!
  PIDS+=("$PID")
  eventually read_ports
  case $TRANSPORT in
    ws | wss) URL=$TRANSPORT://localhost:$WEBSOCKET_PORT ;;
    *) URL=nats://localhost:$NATS_PORT ;;
  esac
}

# A restart uses the ports that the first start found.
read_ports() {
  local text
  text=$(cat ./*_"$PID".ports 2>/dev/null) || return
  [[ $text == *"}" ]] || return
  NATS_PORT=$(port_in "$text" nats) && [[ $NATS_PORT ]] || return
  WEBSOCKET_PORT=$(port_in "$text" websocket)
}

port_in() { grep -oP "\"$2\":\s*\[\s*\"[^\"]*:\K[0-9]+" <<<"$1" || true; }

stop() {
  kill -TERM "$PID"
  ends "$PID"
}

# The process ends by itself, with exit code 0.
ends() {
  eventually gone "$1"
  wait "$1"
}
gone() { ! kill -0 "$1" 2>/dev/null; }

nats() { "$INTEROP_NATS" -s "$URL" --no-context "${FLAGS[@]}" "$@"; }

# Whether a connection with these flags works. (`nats rtt` exits with 0 either way.)
connects() { nats "$@" pub -q here now; }

# subscribe OUT SUBJECT [nats sub flag]...: payloads arrive in the file OUT. Returns when
# interest is there, which messages "ready" on the subject have shown.
subscribe() {
  local out=$1 subject=$2
  nats sub --raw "${@:2}" >"$out" 2>"$out.log" &
  PIDS+=($!)
  subscriber=$!
  eventually ready "$out" "${READY_ON:-$subject}"
}
ready() {
  nats pub -q "$2" ready >/dev/null 2>&1
  grep -q ready "$1"
}

# What a subscriber wrote, without the probes and the blank lines around them.
payloads() { grep -v -e '^ready$' -e '^$' "$@" || true; }
has_payloads() { [[ $(payloads "$1" | wc -l) -ge $2 ]]; }

eventually() {
  local end=$((SECONDS + LIMIT_S))
  until "$@"; do
    ((SECONDS < end)) || fail "not within ${LIMIT_S}s: $*"
    sleep 0.05
  done
}

equal() { [[ $1 == "$2" ]] || fail "expected '$2', got '$1'"; }
contains() { grep -qiE -- "$2" <<<"$1" || fail "expected /$2/ in: $1"; }
# The command fails and says so.
refused() {
  local pattern=$1 output
  shift
  ! output=$("$@" 2>&1) || fail "should have failed: $*: $output"
  contains "$output" "$pattern"
}
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

passed=0 failed=0

# check FUNCTION [ARGUMENT]...: one test in a shell, a folder and with a HOME of its own.
check() {
  local rc
  WORK=$(mktemp -d "$INTEROP_OUT/work/cli-XXXXXX")
  (
    set -euo pipefail
    cd "$WORK"
    export HOME=$WORK XDG_CONFIG_HOME=$WORK/config
    PIDS=()
    trap 'for pid in "${PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done; wait' EXIT
    "$@"
  ) >"$WORK/test.log" 2>&1
  rc=$?
  if ((rc == 0)); then
    passed=$((passed + 1)) && echo "ok $*"
  else
    failed=$((failed + 1)) && echo "FAILED $* ($WORK)" && tail -n 30 "$WORK"/{test,server}.log
  fi
}
