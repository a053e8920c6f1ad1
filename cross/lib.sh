# shellcheck shell=bash
# What the scripts beside this file share: they source it, with the root of the project as working directory.

# Where intermediate products are kept.
work=${CROSS_WORK:-target/cross}
# Where programs, their sums and packages are left.
# shellcheck disable=SC2034
dist=target/dist

# Columns of the table of targets: name; Rust's triple; prefix of Debian's gcc; most bytes that the program may have;
# architecture of Debian's package (- for none) and those of OpenWrt's; then gcc's flags, the ABI of musl's C code; and
# after # the machines.
#
# Debian's armhf is ARMv7, but Raspberry Pi OS, where a Pi Zero is armhf too, is ARMv6: the package for both holds the
# ARMv6 program. OpenWrt's names without vfp or neon are of processors without FPU, Cortex-A7 and A9 among them; the
# ARMv5 program uses none. Its mips_mips32 and mipsel_mips32 lack instructions of release 2, and have no package.
# shellcheck disable=SC2034
TARGETS='
aarch64 aarch64-unknown-linux-musl     aarch64-linux-gnu   1000000 arm64 aarch64_generic,aarch64_cortex-a53,aarch64_cortex-a72,aarch64_cortex-a76 # Pi 3, 4, 5, Zero 2
armv7   armv7-unknown-linux-musleabihf arm-linux-gnueabihf 1000000 -     arm_cortex-a5_vfpv4,arm_cortex-a7_neon-vfpv4,arm_cortex-a7_vfpv4,arm_cortex-a8_vfpv3,arm_cortex-a9_neon,arm_cortex-a9_vfpv3-d16,arm_cortex-a15_neon-vfpv4 -march=armv7-a+fp -mfloat-abi=hard # Pi 2, 32-bit systems of later ones
armv6   arm-unknown-linux-musleabihf   arm-linux-gnueabihf 1000000 armhf arm_arm1176jzf-s_vfp -march=armv6+fp -marm -mfloat-abi=hard # Pi 1, Pi Zero
mipsel  mipsel-unknown-linux-musl      mipsel-linux-gnu    1300000 -     mipsel_24kc,mipsel_24kc_24kf,mipsel_74kc -march=mips32r2 -msoft-float # MT7620, MT7621, MT76x8
mips    mips-unknown-linux-musl        mips-linux-gnu      1300000 -     mips_24kc,mips_4kec -march=mips32r2 -msoft-float # ath79, lantiq
armv5   armv5te-unknown-linux-musleabi arm-linux-gnueabi   1000000 armel arm_arm926ej-s,arm_xscale,arm_mpcore,arm_cortex-a7,arm_cortex-a9 -march=armv5te -marm -mfloat-abi=soft # Kirkwood and other old NAS boxes
x86_64  x86_64-unknown-linux-musl      x86_64-linux-gnu    1100000 amd64 x86_64 # PC
i686    i686-unknown-linux-musl        i686-linux-gnu      1100000 i386  i386_pentium4 # old PC (with SSE2)
'

# names: every target's name, in the order of the table.
names() { sed -n 's/^\([a-z0-9_]\+\) .*/\1/p' <<< "$TARGETS"; }

# target NAME|TRIPLE: sets TARGET, TRIPLE, GNU, BUDGET, DEB, IPK and CF; fails when there is no such target.
target() {
  while read -r TARGET TRIPLE GNU BUDGET DEB IPK CF; do
    CF=${CF%%#*} CF=${CF%"${CF##*[! ]}"}
    if [ "$1" = "$TARGET" ] || [ "$1" = "$TRIPLE" ]; then return 0; fi
  done < <(grep -v '^$' <<< "$TARGETS")
  return 1
}

die() { echo "cross/${0##*/}: $*" >&2; exit 1; }

# usage: prints the comment that opens the script.
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; }

# lock: makes the directories and waits until no other of these scripts builds. Paths are absolute from then on.
lock() {
  mkdir -p "$work" "$dist"
  work=$(realpath "$work") dist=$(realpath "$dist")
  exec 9> "$work/lock"
  flock 9
}

# need PACKAGE...: installs the Debian packages that are missing; with CROSS_INSTALL=no it only names them.
need() {
  local package missing=() root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  for package in "$@"; do
    dpkg-query -W -f='${Status}\n' "$package" 2> /dev/null | grep -q ' installed$' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "${CROSS_INSTALL:-yes}" != no ] || die "missing Debian packages: ${missing[*]}"
  echo "== installing ${missing[*]}"
  local install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600
    --no-install-recommends install "${missing[@]}")
  "${install[@]}" > "$work/apt.log" 2>&1 && return
  # The lists of packages may be missing or old.
  "${root[@]}" apt-get -qq update || true
  "${install[@]}" > "$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; die "apt-get install ${missing[*]}"; }
}

# sums: lists all that is in target/dist.
sums() {
  (cd "$dist" && shopt -s nullglob && sha256sum runnel-* runnel_* > SHA256SUMS && stat -c '%s %n' runnel-* runnel_* > SIZES)
}
