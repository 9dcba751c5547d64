# JetStream as the `nats` tool uses it: streams, consumers of all kinds, key-value, object store, services.
# Sourced by test.sh.

jetstream() {
  export JETSTREAM_DIR=$WORK/jetstream
  serve tcp jetstream
}
stream_info() { nats stream info "$1" --json; }
consumer_info() { nats consumer info "$1" "$2" --json; }
fact() { jq -c "$2" <<<"$1"; }

streams() {
  jetstream
  nats stream add orders --subjects 'orders.>' --defaults --allow-direct >/dev/null
  nats pub -q orders.new 'order {{Count}}' --count 20
  equal "$(fact "$(stream_info orders)" '[.state.messages, .state.num_subjects, .config.allow_direct]')" '[20,1,true]'
  equal "$(nats stream get orders 3 --json | jq -r .data | base64 -d)" 'order 3'
  nats stream edit orders --max-msgs 15 --description edited --force >/dev/null
  equal "$(fact "$(stream_info orders)" '[.state.messages, .state.first_seq, .config.description]')" '[15,6,"edited"]'
  nats stream rmm orders 10 --force
  nats stream purge orders --seq 9 --force >/dev/null
  equal "$(fact "$(stream_info orders)" '[.state.messages, .state.num_deleted]')" '[11,1]'
  contains "$(nats stream subjects orders)" 'orders.new'
  contains "$(nats stream report)" 'orders'
  nats stream add copy --mirror orders --defaults >/dev/null 2>&1
  mirrored() { [[ $(fact "$(stream_info copy)" .state.last_seq) == 20 ]]; }
  eventually mirrored
  nats stream seal orders --force >/dev/null
  contains "$(nats request --raw orders.new late 2>&1)" 'sealed'
  equal "$(nats stream ls --names | sort | paste -sd,)" 'copy,orders'
  contains "$(nats account info)" 'Streams: *2'
  nats stream rm copy --force
  refused 'not found|could not' nats stream info copy
}

pull_consumers() {
  jetstream
  nats stream add work --subjects work --retention work --defaults >/dev/null
  nats pub -q work 'job {{Count}}' --count 10
  nats consumer add work worker --pull --ack explicit --max-deliver 3 --defaults >/dev/null
  nats consumer next work worker --count 4 --ack >/dev/null
  equal "$(fact "$(stream_info work)" .state.messages)" 6
  nats consumer next work worker --count 2 --no-ack >/dev/null
  equal "$(fact "$(consumer_info work worker)" '[.num_ack_pending, .num_pending, .ack_floor.stream_seq]')" '[2,4,4]'
  nats consumer edit work worker --description busy --force >/dev/null
  equal "$(fact "$(consumer_info work worker)" .config.description)" '"busy"'
  nats consumer pause work worker 1h --force >/dev/null
  equal "$(fact "$(consumer_info work worker)" .paused)" true
  nats consumer resume work worker --force >/dev/null
  equal "$(fact "$(consumer_info work worker)" '.paused // false')" false
  contains "$(nats consumer report work)" 'worker'
  equal "$(nats consumer ls work --names)" worker
  nats consumer rm work worker --force
  equal "$(nats consumer ls work --names)" ''
}

push_consumers() {
  jetstream
  nats stream add news --subjects 'news.>' --defaults >/dev/null
  nats pub -q news.a 'item {{Count}}' --count 5
  nats consumer add news reader --target read.here --deliver all --ack explicit --heartbeat 1s --flow-control --defaults >/dev/null
  nats consumer sub news reader --raw >seen 2>/dev/null &
  PIDS+=($!)
  eventually has_payloads seen 5
  equal "$(payloads seen | tail -1)" 'item 5'
  nats sub 'news.>' --last-per-subject --raw --count 1 >last 2>/dev/null
  equal "$(payloads last)" 'item 5'
  nats sub --stream news --all --raw --count 5 >all 2>/dev/null
  equal "$(payloads all | paste -sd,)" 'item 1,item 2,item 3,item 4,item 5'
}

key_value() {
  jetstream
  nats kv add config --history 3 >/dev/null
  nats kv put config a one >/dev/null
  nats kv create config b two >/dev/null
  refused 'exists|wrong last sequence' nats kv create config b again
  nats kv update config a three 1 >/dev/null
  refused 'wrong last sequence' nats kv update config a four 1
  equal "$(nats kv get config a --raw)" three
  equal "$(nats kv ls config | sort | paste -sd,)" 'a,b'
  contains "$(nats kv history config a)" 'one'
  nats kv watch config >watched 2>&1 &
  PIDS+=($!)
  nats kv rev config a 1 --raw 2>/dev/null | grep -q one || true
  nats kv del config b --force >/dev/null
  refused 'not found|deleted' nats kv get config b --raw
  deleted() { grep -q 'DEL.*b' watched; }
  eventually deleted
  nats kv purge config a --force >/dev/null
  nats kv compact config --force >/dev/null
  contains "$(nats kv info config)" 'config'
  nats kv del config --force >/dev/null
  equal "$(nats kv ls --names)" ''
}

object_store() {
  jetstream
  nats object add files --description things >/dev/null
  head -c 500000 /dev/urandom >content
  nats object put files content --name report --no-progress --force >/dev/null
  nats object get files report --output copied --no-progress --force >/dev/null
  cmp content copied
  contains "$(nats object info files report)" '500,000|488 KiB|KiB'
  contains "$(nats object ls files)" 'report'
  nats object rm files report --force >/dev/null
  refused 'not found' nats object get files report --output again --no-progress --force
  nats object seal files --force >/dev/null
  contains "$(nats object info files)" 'Sealed: *true'
  nats object del files --force >/dev/null
}

services() {
  jetstream
  nats service serve answering >/dev/null 2>&1 &
  PIDS+=($!)
  found() { [[ $(nats service list --json 2>/dev/null) == *answering* ]]; }
  eventually found
  contains "$(nats service info answering 2>&1)" 'answering'
  contains "$(nats service stats answering 2>&1)" 'answering'
  nats service ping answering >pings 2>&1 &
  PIDS+=($!)
  pinged() { grep -q answering pings; }
  eventually pinged
}

jetstream_bench() {
  jetstream
  nats bench js pub sync speed --create --purge --msgs 200 --size 64 --no-progress >pub.log 2>&1
  contains "$(<pub.log)" 'msgs/sec'
  nats bench js consume --msgs 200 --no-progress >sub.log 2>&1
  contains "$(<sub.log)" 'msgs/sec'
  nats bench kv put --msgs 50 --size 64 --no-progress >kv.log 2>&1
  contains "$(<kv.log)" 'msgs/sec'
}
