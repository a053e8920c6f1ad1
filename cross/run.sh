#!/usr/bin/env bash
# Runs a static program of another architecture under qemu-user, as the weakest CPU that it is meant for (a Pi Zero, a
# router without FPU), so that an instruction which that CPU lacks ends it here and not on the device.
#
#   cross/run.sh PROGRAM [ARGUMENT...]
#
# Environment: QEMU_CPU, another model (`qemu-arm-static -cpu help` lists them); CROSS_RUN_DRY, only print the command.
# Exit status: the program's; 132 is SIGILL, 139 SIGSEGV. The process becomes qemu, so signals reach the program.
# Needs the packages qemu-user-static and binutils. Serves cargo as a runner too.
set -euo pipefail

die() { echo "cross/run.sh: $*" >&2; exit 126; }

[ $# -ge 1 ] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
program=$1
shift
[ -f "$program" ] || die "no file $program"
# qemu looks a bare name up in PATH.
case $program in */*) ;; *) program=./$program ;; esac

header=$(LC_ALL=C readelf -h -- "$program" 2> /dev/null) || die "$program is not an ELF file"
if LC_ALL=C readelf -lW -- "$program" | grep -q INTERP; then die "$program is linked dynamically"; fi
case $(sed -n 's/^ *Machine: *//p' <<< "$header") in
  AArch64) qemu=aarch64 cpu=cortex-a53 ;;
  ARM)
    qemu=arm
    case $(LC_ALL=C readelf -A -- "$program" | sed -n 's/.*Tag_CPU_arch: //p') in
      v4* | v5*) cpu=arm926 ;;
      v6*) cpu=arm1176 ;;
      *) cpu=cortex-a7 ;;
    esac
    ;;
  MIPS*)
    # 24Kc has no FPU, as most routers; the tests of units are built for one, see cross/test.sh.
    cpu=24Kc
    if grep -q 'big endian' <<< "$header"; then qemu=mips; else qemu=mipsel; fi
    ;;
  *X86-64) qemu=x86_64 cpu=qemu64 ;;
  'Intel 80386') qemu=i386 cpu=qemu32 ;;
  *) die "no qemu is known for $program" ;;
esac
command -v "qemu-$qemu-static" > /dev/null || die "qemu-$qemu-static is missing: install qemu-user-static"
[ -z "${CROSS_RUN_DRY:-}" ] || { echo "qemu-$qemu-static -cpu ${QEMU_CPU:-$cpu} $program $*"; exit; }
exec "qemu-$qemu-static" -cpu "${QEMU_CPU:-$cpu}" "$program" "$@"
