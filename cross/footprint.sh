#!/usr/bin/env bash
# Measures what runnel takes of a small machine: bytes of the programs, memory at rest and at work.
#
#   cross/footprint.sh [-w]    prints the tables; -w writes them into docs/footprint.md, between its marks
#   cross/footprint.sh -s      writes the table of sizes alone, for which nothing is run
#
# Measures every program of cross/build.sh that is in target/dist, and fails when one exceeds a budget. The programs for
# PCs run as they are, and their resident memory is what a device would show. Those for other processors run under
# qemu, whose own memory and translated code are in the figure: what qemu takes for a program that does nothing is
# measured too, and what is left after taking that off is too high by the translated code alone; so the budget at rest is
# held against the programs for PCs, of which i686 has the words and the allocator of 32-bit devices.
#
# Work is one stream of 2 Mbit/s with a keyframe every 2 s and 10 viewers, half of them by HTTP-FLV and half by RTMP,
# looked at after 20 s, with conf/openwrt.conf. Needs ffmpeg, curl, rtmpdump and
# python3.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. cross/lib.sh

# Budgets in KiB.
readonly idle_budget=2048 growth_budget=6144
readonly rtmp=19350 http=18080 page=docs/footprint.md
over=()

# rss PID KEY: a figure of /proc/PID/status in KiB.
rss() { sed -n "s/^$2:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$1/status"; }

clip() {
  local file=$work/footprint.flv
  [ -s "$file" ] || ffmpeg -v error -nostdin -f lavfi -i 'testsrc2=size=640x360:rate=25,noise=alls=30:allf=t' -f lavfi \
    -i anoisesrc=color=pink:sample_rate=44100:amplitude=0.2:seed=1 -c:v libx264 -preset veryfast -pix_fmt yuv420p \
    -sc_threshold 0 -b:v 1900k -minrate 1900k -maxrate 1900k -bufsize 1900k -g 50 -bf 0 -c:a aac -b:a 96k -t 30 \
    -f flv "$file.part"
  [ -s "$file" ] || mv "$file.part" "$file"
  echo "$file"
}

# sockets PID: how many it has open.
sockets() { find "/proc/$1/fd" -lname 'socket:*' | wc -l; }

# small_pages COMMAND...: runs it without huge pages (PR_SET_THP_DISABLE), since one of qemu's, 2 MB, comes and goes by luck.
small_pages() {
  exec python3 -c 'import ctypes, os, sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}

# measure COMMAND...: prints resident memory at rest and at work (its peak), in KiB.
measure() {
  local conf=$scratch/runnel.conf pids=() server source idle peak before connected
  sed "s/^listen .*/listen 127.0.0.1:$rtmp;/; s/^    listen .*/    listen 127.0.0.1:$http;/" conf/openwrt.conf > "$conf"
  source=$(clip)
  small_pages "$@" -c "$conf" > "$scratch/log" 2>&1 &
  server=$!
  sleep 2
  idle=$(rss $server VmRSS) before=$(sockets $server)
  ffmpeg -v error -nostdin -re -i "$source" -c copy -f flv "rtmp://127.0.0.1:$rtmp/live/x" > /dev/null 2>&1 &
  pids+=($!)
  sleep 3
  for _ in 1 2 3 4 5; do
    curl -s -o /dev/null "http://127.0.0.1:$http/live/x.flv" &
    pids+=($!)
    rtmpdump -q --live -r "rtmp://127.0.0.1:$rtmp/live/x" -o /dev/null 2> /dev/null &
    pids+=($!)
  done
  sleep 20
  peak=$(rss $server VmHWM) connected=$(($(sockets $server) - before))
  kill "${pids[@]}" 2> /dev/null || true
  kill $server
  wait $server || die "$* ended with $?: $(tail -n 5 "$scratch/log")"
  wait "${pids[@]}" 2> /dev/null || true
  [ "$connected" -eq 11 ] || die "$*: $connected connections instead of a publisher's and ten viewers'"
  echo "$idle $peak"
}

# qemu_own: resident memory in KiB of qemu with a program of the present target that does nothing.
qemu_own() {
  local cc=$work/sysroot/$TRIPLE/bin/cc program=$scratch/nothing pid
  echo 'int pause(void); int main(void) { return pause(); }' > "$program.c"
  { "$cc" -c "$program.c" -o "$program.o" && "$cc" "$program.o" -lc -lgcc -o "$program"; } ||
    die "cross/build.sh -s $TARGET makes the compiler that is needed here"
  small_pages cross/run.sh "$program" &
  pid=$!
  sleep 2
  rss $pid VmRSS
  kill $pid
  wait $pid || true
}

grouped() { sed ':a;s/\B[0-9]\{3\}\>/,&/;ta' <<< "$1"; }

sizes() {
  echo '| target | for | bytes | allowed | router | qemu-user as |'
  echo '|---|---|---|---|---|---|'
  local each file router cpu
  for each in $(names); do
    target "$each"
    file=$dist/runnel-$TRIPLE router=$dist/runnel-router-$TRIPLE
    [ -e "$file" ] || continue
    local size small=-
    size=$(stat -c %s "$file")
    [ ! -e "$router" ] || small=$(grouped "$(stat -c %s "$router")")
    [ "$size" -le "$BUDGET" ] || over+=("$TRIPLE: $size bytes, $BUDGET are allowed")
    cpu=$(CROSS_RUN_DRY=1 cross/run.sh "$file" | sed 's/.*-cpu \([^ ]*\) .*/\1/')
    echo "| $TRIPLE | $(machines "$each") | $(grouped "$size") | $(grouped "$BUDGET") | $small | $cpu |"
  done
}

# machines NAME: the comment of its row.
machines() { sed -n "s/^$1 .*# //p" <<< "$TARGETS"; }

memory() {
  echo "| target | run | qemu's own, KiB | idle beyond it, KiB | at most with 10 viewers, KiB | growth, KiB |"
  echo '|---|---|---|---|---|---|'
  local each file how own idle peak
  for each in $(names); do
    target "$each"
    file=$dist/runnel-$TRIPLE
    [ -e "$file" ] || continue
    case $TARGET in
      x86_64 | i686) how='as it is' own=0 command=("$file") ;;
      *) how='under qemu' own=$(qemu_own) command=(cross/run.sh "$file") ;;
    esac
    read -r idle peak <<< "$(measure "${command[@]}")"
    idle=$((idle - own)) peak=$((peak - own))
    echo "| $TRIPLE | $how | $(grouped "$own") | $(grouped "$idle") | $(grouped "$peak") | $(grouped $((peak - idle))) |"
    # Under qemu most of what is resident at rest is code that it has translated.
    if [ "$own" = 0 ] && [ "$idle" -gt $idle_budget ]; then over+=("$TRIPLE: $idle KiB idle"); fi
    if [ $((peak - idle)) -gt $growth_budget ]; then over+=("$TRIPLE: grew by $((peak - idle)) KiB"); fi
  done
}

write='' tables=(sizes memory)
case ${1:-} in
  -w) write=yes ;;
  -s) write=yes tables=(sizes) ;;
  '') ;;
  *) usage; exit 2 ;;
esac
lock
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for tool in ffmpeg curl rtmpdump; do command -v $tool > /dev/null || die "$tool is missing"; done
for table in "${tables[@]}"; do
  $table > "$scratch/$table"
  cat "$scratch/$table"
  echo
  [ -z "$write" ] ||
    sed -i -e "/<!-- $table -->/,/<!-- end -->/{//!d}" -e "/<!-- $table -->/r $scratch/$table" $page
done
[ ${#over[@]} -eq 0 ] || die "over budget: $(printf '%s; ' "${over[@]}")"
