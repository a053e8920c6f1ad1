#!/bin/sh
# Instructions of the server per message and viewer, counted by valgrind, so that a change of a few percent shows
# also on a busy machine.
#
#   benches/callgrind.sh [--update] [SERVER]
#
# One publisher sends a fixed number of messages in lockstep with V viewers (see benches/lockstep.rs). Four runs
# for each protocol, at two viewer counts and two message counts, give the difference quotient
#   ((I(v2,m2) - I(v2,m1)) - (I(v1,m2) - I(v1,m1))) / ((v2 - v1) * (m2 - m1))
# in which start-up, joins and the cost of ingest cancel out. Each number is compared with
# benches/callgrind.baseline; more than 5 % above it is a failure. --update writes the baseline anew.
# Instructions inside the kernel are not counted: this is the server's own code.
#
# Needs valgrind. CALLGRIND_PROTO="flv rtmp" and CALLGRIND_ARGS (more options of the bench) may be set.
set -eu

V1=5 V2=25 M1=136 M2=408
TOLERANCE=5

cd "$(dirname "$0")/.."
baseline=benches/callgrind.baseline
update=0
if [ "${1:-}" = --update ]; then
    update=1
    shift
fi
server=${1:-}
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Builds first, so that the compiler's time is not part of any time limit.
cargo bench --quiet --bench runnel --no-run

# count PROTO VIEWERS MESSAGES MERGE: prints the instructions of one run.
count() {
    rm -f "$work"/out.*
    # shellcheck disable=SC2086
    cargo bench --quiet --bench runnel -- lockstep --out "$work/results" \
        --wrapper "valgrind --tool=callgrind --callgrind-out-file=$work/out.%p" \
        --proto "$1" --viewers "$2" --messages "$3" --mw "$4" \
        ${server:+--server "$server"} ${CALLGRIND_ARGS:-} >"$work/log" 2>&1 ||
        { cat "$work/log" "$work"/results/run/*.log >&2; return 1; }
    sum=$(awk '/^(summary|totals):/ { n = $2 } END { printf "%.0f", n }' "$work"/out.*)
    [ "$sum" -gt 0 ] || { echo "callgrind left no count" >&2; return 1; }
    echo "$sum"
}

# quotient PROTO MERGE
quotient() {
    a=$(count "$1" $V1 $M1 "$2")
    b=$(count "$1" $V1 $M2 "$2")
    c=$(count "$1" $V2 $M1 "$2")
    d=$(count "$1" $V2 $M2 "$2")
    awk -v a="$a" -v b="$b" -v c="$c" -v d="$d" -v n=$(((V2 - V1) * (M2 - M1))) \
        'BEGIN { printf "%.1f", ((d - c) - (b - a)) / n }'
}

status=0
: >"$work/new"
for proto in ${CALLGRIND_PROTO:-flv rtmp}; do
    now=$(quotient "$proto" 0)
    echo "$proto $now" >>"$work/new"
    was=$(awk -v name="$proto" '$1 == name { print $2 }' "$baseline" 2>/dev/null || true)
    if [ -z "$was" ]; then
        echo "$proto: $now instructions per message and viewer (no baseline)"
    elif awk -v now="$now" -v was="$was" -v t=$TOLERANCE 'BEGIN { exit !(now > was * (1 + t / 100)) }'; then
        echo "$proto: $now instructions per message and viewer, more than $TOLERANCE % above $was"
        status=1
    else
        echo "$proto: $now instructions per message and viewer (baseline $was)"
    fi
done
if [ $update = 1 ]; then
    { echo "# protocol, instructions per message and viewer (min_latency on); written by callgrind.sh --update"
      cat "$work/new"; } >"$baseline"
    exit 0
fi
exit $status
