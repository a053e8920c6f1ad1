#!/usr/bin/env bash
# Runs the unit tests as programs of another byte order and of 32 bits, where u64 is no machine word, usize holds no
# 5 GB and 64-bit atomics do not exist.
#
#   cross/test.sh [TARGET...] [-- ARGUMENTS-OF-THE-TESTS...]
#
# TARGET: mips (32 bits, big endian, under qemu-user), i686 (32 bits, little endian, on this machine itself) or
# aarch64 (under qemu-user); both of the former without one. Tests unwind when they fail, so these programs are linked
# with Debian's glibc, statically, and not with musl as those of cross/build.sh are.
#
# Needs Debian 12 on amd64 (as root or with sudo, to install packages) and the crates registry.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. cross/lib.sh

# machine NAME: sets triple, gnu, libc and runner.
machine() {
  case $1 in
    # Debian's C library for MIPS uses the FPU: the 24Kf has one.
    mips) triple=mips-unknown-linux-gnu gnu=mips-linux-gnu libc=mips runner="env QEMU_CPU=24Kf cross/run.sh" ;;
    aarch64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu libc=arm64 runner=cross/run.sh ;;
    i686) triple=i686-unknown-linux-gnu gnu=i686-linux-gnu libc=i386 runner=env ;;
    *) die "no tests are known for $1; see -h" ;;
  esac
}

# prepare: installs what the present machine needs and notes what cargo needs to know.
prepare() {
  need rustc-web cargo-web rust-web-src qemu-user-static binutils "gcc-$gnu" "libc6-dev-$libc-cross"
  local key=${triple//-/_}
  key=CARGO_TARGET_${key^^}
  settings+=("${key}_LINKER=$gnu-gcc" "${key}_RUNNER=$runner" "${key}_RUSTFLAGS=-Ctarget-feature=+crt-static")
  triples+=(--target "$triple")
}

# cargo_test ARGUMENTS...
cargo_test() {
  # Emulated code that is not optimised takes six minutes. Checks of arithmetic and assertions stay.
  env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc \
    CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_TEST_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=false "${settings[@]}" \
    /usr/bin/cargo test --quiet --locked --lib --target-dir "$work/cargo" -Z build-std "$@"
}

chosen=() settings=() triples=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit ;;
    --) shift; break ;;
    -*) die "unknown option $1; see -h" ;;
    *) chosen+=("$1") ;;
  esac
  shift
done
[ ${#chosen[@]} -gt 0 ] || chosen=(mips i686)
lock
for each in "${chosen[@]}"; do
  machine "$each"
  prepare
done
# All at once, so that no core waits.
cargo_test "${triples[@]}" --no-run || die "building the tests for ${chosen[*]}"
failed=()
for each in "${chosen[@]}"; do
  machine "$each"
  echo "== unit tests on $triple"
  left_out=()
  if [ "$runner" != env ]; then
    echo "skipped: links_within_the_root_are_followed_where_the_kernel_can_tell (qemu-user 7.2 has no openat2)"
    left_out=(--skip links_within_the_root_are_followed_where_the_kernel_can_tell)
  fi
  cargo_test --target "$triple" -- ${left_out[@]+"${left_out[@]}"} "$@" || failed+=("$each")
done
[ ${#failed[@]} -eq 0 ] || die "failed on ${failed[*]}"
