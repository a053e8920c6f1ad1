#!/bin/sh
# Installs runnel with its service files, or takes it away again.
#
#   install.sh [--root DIR] [--init sysv|openwrt|systemd|none] PROGRAM
#   install.sh [--root DIR] --uninstall
#
# --root    the file system to install into, for an image or a package; the running one by default
# --init    how the system starts services; found out by looking at the root by default
#
# An /etc/runnel/runnel.conf that is there already is left alone, by --uninstall too if it was changed. Nothing is
# started or stopped.
set -eu

root=
init=
program=
uninstall=
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --root | --init)
            [ $# -gt 1 ] || fail "$1 needs a value"
            if [ "$1" = --root ]; then root=${2%/}; else init=$2; fi
            shift
            ;;
        --uninstall) uninstall=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) fail "what is $1?" ;;
        *) program=$1 ;;
    esac
    shift
done

# put MODE FILE PLACE
put() {
    mkdir -p "$root$(dirname "$3")"
    cp "$2" "$root$3.new"
    chmod "$1" "$root$3.new"
    mv "$root$3.new" "$root$3"
    echo "$root$3"
}

if [ -n "$uninstall" ]; then
    conf=$root/etc/runnel/runnel.conf
    if [ -f "$conf" ] && cmp -s "$conf" "$root/usr/share/runnel/runnel.conf"; then
        rm -f "$conf"
    fi
    for file in /usr/bin/runnel /etc/init.d/runnel /etc/systemd/system/runnel.service /etc/logrotate.d/runnel \
        /usr/share/runnel/runnel.conf; do
        rm -f "$root$file"
    done
    for dir in /usr/share/runnel /etc/runnel; do
        rmdir "$root$dir" 2> /dev/null || true
    done
    [ ! -e "$conf" ] || echo "left: $conf"
    exit 0
fi

[ -n "$program" ] || fail "the program to install is missing; see --help"
[ -f "$program" ] || fail "there is no file $program"
if [ -z "$init" ]; then
    if [ -e "$root/etc/rc.common" ]; then
        init=openwrt
    elif [ -d "$root/run/systemd/system" ] || [ -x "$root/lib/systemd/systemd" ]; then
        init=systemd
    else
        init=sysv
    fi
fi

sample=$here/../runnel.conf
put 755 "$program" /usr/bin/runnel
case $init in
    openwrt)
        sample=$here/../openwrt.conf
        put 755 "$here/openwrt" /etc/init.d/runnel
        next="/etc/init.d/runnel enable && /etc/init.d/runnel start"
        ;;
    sysv)
        put 755 "$here/runnel.init" /etc/init.d/runnel
        next="/etc/init.d/runnel start"
        ;;
    systemd)
        put 644 "$here/runnel.service" /etc/systemd/system/runnel.service
        next="systemctl daemon-reload && systemctl enable --now runnel"
        ;;
    none) next="runnel -c /etc/runnel/runnel.conf" ;;
    *) fail "--init is sysv, openwrt, systemd or none" ;;
esac
[ ! -d "$root/etc/logrotate.d" ] || put 644 "$here/runnel.logrotate" /etc/logrotate.d/runnel
put 644 "$sample" /usr/share/runnel/runnel.conf
if [ -e "$root/etc/runnel/runnel.conf" ]; then
    echo "left: $root/etc/runnel/runnel.conf"
else
    put 644 "$sample" /etc/runnel/runnel.conf
fi
[ -n "$root" ] || echo "now: $next"
