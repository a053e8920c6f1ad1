#!/usr/bin/env bash
# Builds runnel as small static programs for single-board computers, routers and PCs.
#
#   cross/build.sh [-r] TARGET...|all [-- CARGO-ARGUMENTS...]
#   cross/build.sh -b TARGET...|all    the program of the benchmarks, see docs/footprint.md: target/dist/bench-TRIPLE
#   cross/build.sh -s TARGET...|all    only makes the C libraries and linkers
#   cross/build.sh -l                  lists the targets
#
# Makes target/dist/runnel-TRIPLE, or with -r target/dist/runnel-router-TRIPLE, for routers: without cargo's default
# features. target/dist/SHA256SUMS and target/dist/SIZES tell of all that is there. Fails when
# a program has more bytes than cross/lib.sh allows, unless cargo gets arguments, which may add to it.
#
# Needs Debian 12 on amd64 (as root or with sudo, to install packages) and the crates registry, nothing else.
# Environment: CROSS_WORK, where intermediate products are kept (target/cross); OPT, opt-level (that of the profile
# dist); CARGO_PROFILE_DIST_... as cargo knows them.
#
# How: Debian's rustc-web, cargo-web and rust-web-src are a compiler and the source of its std in one version, so cargo
# can build std for a target of which no compiled std is published. The C library is musl, compiled for each target
# from Debian's source package. Debian's own libraries for other architectures are not linked: those of armhf are
# ARMv7 code, which a Pi Zero does not run, and those of MIPS need an FPU, which routers lack. The helper functions
# that a C compiler expects come with std.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. cross/lib.sh

# Fetches musl's source from the archive that this machine's packages come from (apt checks its signature), without
# changing what apt has configured.
musl_source() {
  [ ! -f "$work/musl/configure" ] || return 0
  local apt=$work/apt site release
  rm -rf "$apt" "$work/musl"
  mkdir -p "$apt/lists/partial" "$apt/src"
  read -r site release < <(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
    grep -v -e security -e updates -e backports | head -n 1)
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $release main" > "$apt/list"
  local options=(-qq -o "Dir::Etc::SourceList=$apt/list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$apt/lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=)
  apt-get "${options[@]}" update || die "no source packages at $site"
  (cd "$apt/src" && apt-get "${options[@]}" source musl > "$work/musl.log" 2>&1) || die "see $work/musl.log"
  mv "$apt"/src/musl-*/ "$work/musl"
}

# Makes bin/cc and, once for each target, musl's libc.a and start files and a stub of libunwind.a.
sysroot() {
  local sys=$work/sysroot/$TRIPLE
  libraries
  cat > "$sys/bin/cc" << SH
#!/bin/sh
# The C compiler and the linker: static, with musl's start files and libc and no others. What relocation leaves to be
# made read-only at the start (norelro) is nothing here, and the place kept for it is up to a page, 64 KiB on aarch64.
sys=\$(dirname "\$(dirname "\$(realpath "\$0")")")
for argument; do
  case \$argument in
    -c | -S | -E)
      exec $GNU-gcc $CF -nostdinc -isystem "\$sys/include" -isystem "\$($GNU-gcc -print-file-name=include)" "\$@" ;;
  esac
done
exec $GNU-gcc -static -nostdlib -L"\$sys/lib" "\$sys/lib/crt1.o" "\$sys/lib/crti.o" "\$@" "\$sys/lib/crtn.o" -Wl,-z,norelro
SH
  chmod +x "$sys/bin/cc"
}

# In the directory that its caller calls sys.
libraries() {
  # For fixed addresses, as the program is: gcc's default, code for any address, takes a tenth more on MIPS. There it
  # also wants to be told that functions are called without the table that shared libraries need.
  local fixed=-fno-pie
  [[ $TRIPLE != mips* ]] || fixed+=' -mno-shared -mplt'
  # What it is made of; a change makes it anew.
  local recipe="2 $GNU $CF $fixed"
  [ "$(cat "$sys/recipe" 2> /dev/null)" != "$recipe" ] || return 0
  musl_source
  echo "== musl for $TRIPLE"
  rm -rf "$sys"
  mkdir -p "$sys/bin" "$sys/build"
  (
    cd "$sys/build"
    "$work/musl/configure" --target="$GNU" CROSS_COMPILE="$GNU-" --prefix="$sys" --disable-shared --disable-wrapper \
      CFLAGS="-Os -pipe $CF $fixed" && make -j"$(nproc)" && make install
  ) > "$sys/log" 2>&1 || die "see $sys/log"
  # The program ends at a panic and never unwinds, but code that is never run, and ARM's exception tables, name
  # these. A build that does unwind needs others and fails to link, as it should.
  # shellcheck disable=SC2086 # CF and fixed hold several words
  "$GNU-gcc" $CF $fixed -Os -ffreestanding -ffunction-sections -c -x c -o "$sys/build/unwind.o" - << 'C'
int _Unwind_Backtrace(void *f, void *a) { return 5; } /* _URC_END_OF_STACK */
unsigned long _Unwind_GetIP(void *c) { return 0; }
unsigned long _Unwind_GetCFA(void *c) { return 0; }
void *_Unwind_FindEnclosingFunction(void *pc) { return 0; }
#ifdef __arm__
int _Unwind_VRS_Get(void *c, int k, unsigned r, int t, void *v) { return 1; }
void __aeabi_unwind_cpp_pr0(void) { __builtin_trap(); }
void __aeabi_unwind_cpp_pr1(void) { __builtin_trap(); }
void __aeabi_unwind_cpp_pr2(void) { __builtin_trap(); }
#endif
C
  "$GNU-ar" rcs "$sys/lib/libunwind.a" "$sys/build/unwind.o"
  # musl's own makes the path in /proc of another thread's name with snprintf, the only use of it and of the arithmetic
  # with floating point that it brings. Here a thread names itself alone.
  # shellcheck disable=SC2086 # CF and fixed hold several words
  "$GNU-gcc" $CF $fixed -Os -nostdinc -isystem "$sys/include" -c -x c -o "$sys/build/pthread_setname_np.o" - << 'C'
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
int pthread_setname_np(pthread_t thread, const char *name) {
  if (strnlen(name, 16) > 15) return ERANGE;
  if (thread != pthread_self()) return ENOSYS;
  return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL) ? errno : 0;
}
C
  "$GNU-ar" r "$sys/lib/libc.a" "$sys/build/pthread_setname_np.o"
  rm -rf "$sys/build"
  echo "$recipe" > "$sys/recipe"
}

# prepare: notes what cargo needs to know for the present target.
prepare() {
  local under=${TRIPLE//-/_} cc=$work/sysroot/$TRIPLE/bin/cc flags=
  # Where this machine keeps sources is nobody's business; what a panic names is shorter without.
  local sources="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src="
  sources+=" --remap-path-prefix=$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library="
  local key=CARGO_TARGET_${under^^}
  # Instructions of 16 bits: a fifth to a quarter less code. The compiler warns that the flag is not stable, so
  # .cargo/config.toml, which is for stable compilers too, does without.
  [[ $TARGET != armv[57] ]] || flags=-Ctarget-feature=+thumb-mode
  # Addresses within 1 MiB take one instruction instead of two. What is larger does not link: benchmarks, and programs with
  # another profile, so .cargo/config.toml does without.
  [ "$TARGET" != aarch64 ] || [ -n "$bench${OPT:-}" ] || flags=-Ccode-model=tiny
  # Debug shows nothing: what users read is Display, and the tables of traits would hold all of it, some 20 KB.
  flags+=' -Zfmt-debug=none'
  # Where the compiler still takes speed for size, counted in docs/footprint.md: what loops need is not kept in registers
  # from before them, which has to be saved for it; blocks lie so that fewest jumps are needed; and a function of twice the usual size is
  # put into its callers where the calls would take more. The names are those of this compiler's LLVM, so they are not in
  # .cargo/config.toml.
  local option options='disable-machine-licm apply-ext-tsp-for-size split-spill-mode=size tail-dup-placement=false'
  case $TARGET in
    # Rust asks itself before each division whether it is by zero, so the instruction need not trap.
    mips*) options+=' inline-threshold=10 mno-check-zero-division' ;;
    # What stands in many places becomes a function: here always.
    aarch64) options+=' inline-threshold=10' ;;
    *) options+=' enable-machine-outliner=always' ;;
  esac
  for option in $options; do
    if knows "$option"; then flags+=" -Cllvm-args=-$option"; else echo "== this compiler has no -$option: more bytes"; fi
  done
  # These flags are added to those of .cargo/config.toml; RUSTFLAGS would replace them.
  settings+=("${key}_LINKER=$cc" "CC_$under=$cc" "AR_$under=$GNU-ar"
    "${key}_RUSTFLAGS=-Clink-self-contained=no -Cforce-unwind-tables=no $sources $flags")
  if [ "$TARGET" = armv6 ]; then armv6_spec; else triples+=(--target "$TRIPLE"); fi
}

# knows OPTION: whether the compiler's LLVM has it.
knows() { /usr/bin/rustc "-Cllvm-args=-$1" --crate-name x --crate-type lib --print file-names - < /dev/null > /dev/null 2>&1; }

# The compiler's own description of ARMv6 knows neither 16-bit instructions nor that a Pi Zero has ldrex for bytes (ARMv6K);
# this one does. 16-bit code of that age has no access to the FPU, and so little here reckons with fractions that it is not
# missed. Atomics are functions of 32-bit code, from std's own sources.
armv6_spec() {
  local spec=$work/specs/$TRIPLE.json
  mkdir -p "${spec%/*}"
  RUSTC_BOOTSTRAP=1 /usr/bin/rustc -Z unstable-options --print target-spec-json --target "$TRIPLE" |
    sed -e '1a "has-thumb-interworking": true,' -e 's/"llvm-target": "arm-/"llvm-target": "armv6k-/' \
      -e 's/"features": ".*"/"features": "+strict-align,+v6k,+vfp2,+thumb-mode"/' \
      -e 's/"max-atomic-width": 64/"max-atomic-width": 32/' > "$spec"
  triples+=(--target "$spec")
}

# build CARGO-ARGUMENTS...: makes the programs of all targets that were prepared and prints their paths. It is one run of
# cargo, since most of the time goes to optimising the whole program on one core.
build() {
  local kind=bin what=(--bin runnel)
  # A benchmark is to cargo a test, which it would let unwind.
  [ -z "$bench" ] || kind=bench what=(--bench runnel -Z panic-abort-tests)
  # The distribution's compiler, not one of rustup; the flags of std's source are unstable.
  env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc "${settings[@]}" \
    ${OPT:+"CARGO_PROFILE_DIST_OPT_LEVEL=$OPT"} \
    /usr/bin/cargo build --quiet --locked --profile dist "${what[@]}" "${triples[@]}" --target-dir "$work/cargo" \
    -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size -Z json-target-spec ${router:+--no-default-features} \
    --message-format json-render-diagnostics "$@" | sed -n "/\"kind\":\[\"$kind\"\]/s/.*\"executable\":\"\([^\"]*\)\".*/\1/p"
}

# keep PATHS: takes the program of the present target from those that were made.
keep() {
  local program size made=runnel-$router$TRIPLE
  [ -z "$bench" ] || made=bench-$TRIPLE
  program=$(grep -F "/$TRIPLE/" <<< "$1") || die "nothing was made for $TRIPLE"
  file -b "$program" | grep -q 'statically linked' || die "$program is not static"
  # A new file, so that one that is running stays as it is.
  rm -f "$dist/$made"
  cp "$program" "$dist/$made"
  size=$(stat -c %s "$program")
  echo "$made: $size bytes"
  [ -n "$bench" ] || [ "$size" -le "$BUDGET" ] || large+=("$TARGET has $size bytes, $BUDGET are allowed")
}

only_sysroot='' router='' bench='' chosen=() large=() settings=() triples=()
while [ $# -gt 0 ]; do
  case $1 in
    -s) only_sysroot=yes ;;
    -r) router=router- ;;
    -b) bench=yes ;;
    -l) sed '/^$/d' <<< "$TARGETS"; exit ;;
    -h | --help) usage; exit ;;
    --) shift; break ;;
    -*) die "unknown option $1; see -h" ;;
    all) mapfile -t chosen < <(names) ;;
    *) target "$1" || die "unknown target $1; see -l"; chosen+=("$1") ;;
  esac
  shift
done
[ ${#chosen[@]} -gt 0 ] || { usage >&2; exit 2; }

lock
need dpkg-dev make file ca-certificates debian-archive-keyring
if [ -z "$only_sysroot" ]; then
  need rustc-web cargo-web rust-web-src
  least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) has=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
  [ "$(printf '%s\n' "$least" "$has" | sort -V | head -n 1)" = "$least" ] ||
    die "rustc-web is $has and $least is needed: add Debian's security updates (bookworm-security) to apt's sources, then apt-get install rustc-web cargo-web rust-web-src"
fi
compilers=()
for each in "${chosen[@]}"; do
  target "$each"
  # amd64's own compiler is the plain gcc.
  compiler=gcc-$GNU
  compilers+=("${compiler%-x86_64-linux-gnu}")
done
need "${compilers[@]}"
for each in "${chosen[@]}"; do
  target "$each"
  sysroot
  prepare
done
[ -z "$only_sysroot" ] || exit 0
made=$(build "$@") || die "building for ${chosen[*]}"
for each in "${chosen[@]}"; do
  target "$each"
  keep "$made"
done
sums
# Arguments of cargo may add to the programs.
[ ${#large[@]} -eq 0 ] || [ $# -gt 0 ] || die "$(printf '%s; ' "${large[@]}")"
