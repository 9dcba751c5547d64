#!/usr/bin/env bash
# The `nats` command-line tool against a server. Called by ../run.

# shellcheck source=harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
# shellcheck source=jetstream.sh
source "$(dirname "${BASH_SOURCE[0]}")/jetstream.sh"

# Messaging, on every transport.

publish_and_subscribe() {
  serve "$1"
  subscribe exact orders.new
  READY_ON=orders.new subscribe wild 'orders.*'
  READY_ON=orders.new subscribe all '>'
  nats pub -q orders.new first
  nats pub -q orders.old second
  nats pub -q other third
  eventually has_payloads all 3
  eventually has_payloads wild 2
  equal "$(payloads exact)" first
  equal "$(payloads wild)" $'first\nsecond'
  equal "$(payloads all)" $'first\nsecond\nthird'
}

many_messages_through_a_queue_group() {
  serve "$1"
  subscribe all jobs
  subscribe one jobs --queue workers
  subscribe two jobs --queue workers
  nats pub -q jobs 'job {{Count}}' --count 50
  eventually has_payloads all 50
  shared() { [[ $(payloads -h one two | wc -l) -ge 50 ]]; }
  eventually shared
  equal "$(payloads -h one two | sort -u | wc -l)" 50
  has_payloads one 1 && has_payloads two 1 || fail "a member got nothing"
}

headers() {
  serve "$1"
  nats sub headed --count 1 >out 2>&1 &
  local sub=$!
  PIDS+=("$sub")
  send() { nats pub -q headed body -H Trace-Id:7 -H Kind:test && gone "$sub"; }
  eventually send
  contains "$(<out)" 'Trace-Id: 7'
  contains "$(<out)" 'Kind: test'
  contains "$(<out)" '^body$'
}

request_and_reply() {
  serve "$1"
  nats reply echo --echo >reply.log 2>&1 &
  PIDS+=($!)
  ask() { [[ $(nats request --raw echo question 2>&1) == *question* ]]; }
  eventually ask
}

no_responders() {
  serve "$1"
  contains "$(nats request nobody question 2>&1 || true)" 'no responders'
}

round_trip_time() {
  serve "$1"
  contains "$(nats rtt 2>&1)" '[0-9.]+(µs|ms|s)'
}

check_connection() {
  serve "$1"
  contains "$(nats server check connection 2>&1)" '^OK Connection'
}

bench() {
  serve "$1"
  nats bench sub speed --clients 2 --msgs 2000 --no-progress >sub.log 2>&1 &
  local sub=$!
  PIDS+=("$sub")
  flood() { nats bench pub speed --msgs 2000 --size 128 --no-progress >pub.log 2>&1 && gone "$sub"; }
  eventually flood
  contains "$(<pub.log)" 'msgs/sec'
  contains "$(<sub.log)" 'msgs/sec'
}

# The life of a connection.

reconnect() {
  serve "$1"
  subscribe out news
  stop
  start
  eventually ready_again
  contains "$(<out.log)" 'will attempt reconnect'
}
ready_again() {
  nats pub -q news again >/dev/null 2>&1
  grep -q again out
}

max_payload() {
  serve "$1" small_payload
  subscribe out size
  refused 'maximum payload' nats pub size "$(printf 'x%.0s' {1..1025})"
  nats pub -q size "$(printf 'y%.0s' {1..1024})"
  eventually has_payloads out 1
  equal "$(payloads out | tr -d '\n' | wc -c)" 1024
}

lame_duck() {
  serve "$1" lame_duck
  subscribe out news
  kill -USR2 "$PID"
  ends "$PID"
  start
  eventually ready_again
}

client_certificate() {
  serve mtls
  local certificate=(--tlscert "$INTEROP_CERTS/client.pem" --tlskey "$INTEROP_CERTS/client.key")
  connects "${certificate[@]}"
  refused 'certificate|tls|EOF|reset' connects
}

unknown_authority() {
  serve "$1"
  connects
  [[ $1 == tls_first ]] && FLAGS=(--tlsfirst) || FLAGS=()
  refused 'certificate|unknown authority|no servers' connects
}

context() {
  serve tcp user
  "$INTEROP_NATS" context save home --server "$URL" --user ada --password lovelace --description here
  contains "$("$INTEROP_NATS" context ls)" home
  "$INTEROP_NATS" --context home pub -q here now
  "$INTEROP_NATS" context select home
  "$INTEROP_NATS" pub -q here now
  contains "$("$INTEROP_NATS" context info home)" ada
}

# JetStream.

# A backup restores, with messages and consumers; what is damaged does not, and leaves nothing.
backup_and_restore() {
  export JETSTREAM_DIR=$WORK/jetstream
  serve "$1" jetstream
  nats stream add orders --subjects 'orders.>' --defaults >/dev/null
  nats pub -q orders.new 'order {{Count}}' --count 500
  nats stream rmm orders 7 --force
  nats consumer add orders worker --pull --defaults >/dev/null
  nats consumer next orders worker --count 10 --ack >/dev/null
  nats consumer next orders worker --count 3 --no-ack >/dev/null
  nats backup stream orders kept --consumers --no-progress
  nats stream rm orders --force
  cp -r kept damaged
  find damaged -type f ! -name '*.json' -exec truncate -s 1000 {} +
  refused 'restore failed|truncated' nats backup restore stream damaged --no-progress
  equal "$(nats stream ls --names)" ''
  nats backup restore stream kept --no-progress
  equal "$(nats stream get orders 500 --json | jq -r .data | base64 -d)" 'order 500'
  refused 'no message found' nats stream get orders 7
  local worker
  worker=$(nats consumer info orders worker --json)
  equal "$(jq -c '[.ack_floor.stream_seq, .num_ack_pending, .num_pending]' <<<"$worker")" '[11,3,486]'
}

# Who may connect, and what they may do then.

token() {
  serve "$1" token
  connects --token s3cret-token
  connects --user s3cret-token
  refused 'authorization violation' connects --token wrong
  refused 'authorization violation' connects
}

user() {
  serve "$1" user
  connects --user ada --password lovelace
  refused 'authorization violation' connects --user ada --password wrong
  refused 'authorization violation' connects
  URL=${URL/:\/\//://ada:lovelace@}
  connects
}

bcrypt() {
  serve "$1" bcrypt
  connects --user ada --password lovelace-lovelace-lovelace
  refused 'authorization violation' connects --user ada --password lovelace
}

nkey() {
  "$INTEROP_NATS" auth nkey gen user --output right.nk
  "$INTEROP_NATS" auth nkey gen user --output wrong.nk
  INTEROP_NKEY=$("$INTEROP_NATS" auth nkey show right.nk | grep -o 'U[A-Z0-9]\{55\}')
  export INTEROP_NKEY
  serve "$1" nkey
  connects --nkey right.nk
  refused 'authorization violation' connects --nkey wrong.nk
  refused 'nkeys not supported|authorization violation' connects
}

permissions() {
  serve "$1" permissions
  FLAGS+=(--user limited --password pw)
  nats pub -q open.fine yes
  refused 'permissions violation for publish to "closed"' nats pub closed no
  refused 'permissions violation for publish to "open.secret"' nats pub open.secret no
  contains "$(nats sub closed --wait 3s 2>&1 || true)" 'permissions violation for subscription to "closed"'
  contains "$(nats sub jobs --queue others --wait 3s 2>&1 || true)" \
    'permissions violation for subscription to "jobs" using queue "others"'
}

accounts() {
  serve "$1" accounts
  local common=("${FLAGS[@]}") name
  for name in a b; do
    FLAGS=("${common[@]}" --user "$name" --password pw)
    subscribe "in_$name" shared
  done
  for name in a b; do
    FLAGS=("${common[@]}" --user "$name" --password pw)
    nats pub -q shared "for $name"
  done
  eventually has_payloads in_a 1
  eventually has_payloads in_b 1
  equal "$(payloads in_a)" 'for a'
  equal "$(payloads in_b)" 'for b'
}

EVERY=(tcp tls tls_first ws wss)
for transport in "${EVERY[@]}"; do
  check publish_and_subscribe "$transport"
  check many_messages_through_a_queue_group "$transport"
  check headers "$transport"
  check request_and_reply "$transport"
  check no_responders "$transport"
  [[ $transport == ws ]] || check round_trip_time "$transport" # `nats rtt` insists on TLS there
  check check_connection "$transport"
done
for transport in tcp tls ws; do
  check bench "$transport"
  check max_payload "$transport"
  for test in reconnect lame_duck token user bcrypt nkey permissions accounts; do
    check "$test" "$transport"
  done
done
for transport in tls tls_first wss; do
  check unknown_authority "$transport"
done
check client_certificate
check backup_and_restore tcp
for test in streams pull_consumers push_consumers key_value object_store services jetstream_bench; do
  check "$test"
done
check context

echo "cli: $passed passed, $failed failed"
((failed == 0))
