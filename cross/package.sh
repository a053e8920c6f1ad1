#!/usr/bin/env bash
# Packs the programs of cross/build.sh for people to install.
#
#   cross/package.sh TARGET...|all    packs, and tries each package in a directory that stands for the device's root
#
# Makes, in target/dist:
#   runnel-VERSION-TRIPLE.tar.gz        program, configuration files, service kit, README; any Linux
#   runnel_VERSION-1_ARCHITECTURE.deb   for arm64, armhf, armel, amd64 and i386: Debian, Raspberry Pi OS, Ubuntu
#   runnel_VERSION-1_ARCHITECTURE.ipk   OpenWrt up to 24.10, of the router's program (cross/build.sh -r), once for each
#                                       of the architectures that OpenWrt tells apart and the program runs on
# and adds them to target/dist/SHA256SUMS. The same input makes the same bytes.
#
# Needs the package dpkg-dev (dpkg-deb). Environment: SOURCE_DATE_EPOCH, the time of the files in the packages (that of
# the last commit); MAINTAINER, who answers for the packages (the first of the authors in Cargo.toml).
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. cross/lib.sh

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
maintainer=${MAINTAINER:-$(sed -n 's/^authors = \["\([^"]*\)".*/\1/p' Cargo.toml)}
license=$(sed -n 's/^license = "\(.*\)"/\1/p' Cargo.toml)
readonly version maintainer license
[ -n "$maintainer" ] || die "Cargo.toml names no authors; say MAINTAINER=..."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || echo 0)}
description=$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)

# archive FILE DIRECTORY NAME...: a tar.gz of what is in DIRECTORY, owned by root, in a fixed order.
archive() {
  local file=$1 directory=$2
  shift 2
  tar -C "$directory" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    -cf - "$@" | gzip -9n > "$file"
}

# service NAME DESTINATION MODE: puts a file of the service kit into a package.
service() { install -D -m "$3" "conf/service/$1" "$2"; }

# program [router-]: the file of the present target.
program() {
  local file=$dist/runnel-${1:-}$TRIPLE
  [ -x "$file" ] || die "$file is missing: cross/build.sh ${1:+-r }$TARGET"
  echo "$file"
}

tarball() {
  local name=runnel-$version-$TRIPLE
  local top=$stage/$name
  install -D -m 755 "$(program)" "$top/runnel"
  install -D -m 644 -t "$top/conf" conf/*.conf
  install -m 644 -t "$top" README.md CHANGELOG.md LICENSE
  install -m 644 "$stage/licenses" "$top/THIRD-PARTY-LICENSES"
  install -D -m 644 -t "$top/docs" docs/directives.md
  cp -r conf/service "$top/conf/"
  archive "$dist/$name.tar.gz" "$stage" "$name"
  echo "$name.tar.gz: $(stat -c %s "$dist/$name.tar.gz") bytes"
  try_tarball "$dist/$name.tar.gz" "$name"
}

try_tarball() {
  local root=$stage/tar-root
  mkdir -p "$root"
  tar -C "$root" -xzf "$1"
  expect_runs "$root/$2/runnel" "$root/$2/conf/runnel.conf"
  # The kit's own installer finds its files in there, and takes away what it put.
  local device=$stage/kit-root install=$root/$2/conf/service/install.sh
  mkdir "$device"
  sh "$install" --root "$device" --init openwrt "$root/$2/runnel" > "$stage/kit.log" || die "install.sh of $1"
  expect_runs "$device/usr/bin/runnel" "$device/etc/runnel/runnel.conf"
  sh "$install" --root "$device" --uninstall > "$stage/kit.log" || die "install.sh --uninstall of $1"
  expect_nothing "$device" "install.sh of $1"
}

# expect_runs PROGRAM CONF: the program starts on its machine's processor and likes the configuration file.
expect_runs() {
  local said
  said=$(cross/run.sh "$1" --version) && [ "$said" = "runnel $version" ] || die "$1 --version says ${said:-nothing}"
  cross/run.sh "$1" -t -c "$2" > /dev/null || die "$2 is refused by $1"
}

deb() {
  local tree=$stage/deb file=$dist/runnel_$version-1_$DEB.deb
  install -D -m 755 "$(program)" "$tree/usr/bin/runnel"
  install -D -m 644 conf/runnel.conf "$tree/etc/runnel/runnel.conf"
  install -d "$tree/usr/share/doc/runnel"
  cat LICENSE - "$stage/licenses" <<< '' > "$tree/usr/share/doc/runnel/copyright"
  chmod 644 "$tree/usr/share/doc/runnel/copyright"
  install -m 644 -t "$tree/usr/share/doc/runnel" README.md
  install -D -m 644 -t "$tree/usr/share/doc/runnel/docs" docs/directives.md
  install -D -m 644 -t "$tree/usr/share/doc/runnel/examples" conf/*.conf
  install -D -m 644 -t "$tree/usr/share/doc/runnel/examples/service" conf/service/*
  gzip -9n < CHANGELOG.md > "$tree/usr/share/doc/runnel/changelog.gz"
  mkdir "$tree/DEBIAN"
  echo /etc/runnel/runnel.conf > "$tree/DEBIAN/conffiles"
  service runnel.service "$tree/lib/systemd/system/runnel.service" 644
  scripts_systemd "$tree/DEBIAN"
  (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs md5sum) > "$tree/DEBIAN/md5sums"
  cat > "$tree/DEBIAN/control" << CONTROL
Package: runnel
Version: $version-1
Architecture: $DEB
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f 1)
Section: video
Priority: optional
Description: live streaming server for small machines
 $description.
 .
 The program is linked statically and needs no other package.
CONTROL
  find "$tree" -type d -exec chmod 755 {} +
  dpkg-deb --root-owner-group -Zxz --build "$tree" "$file" > "$stage/deb.log" || die "dpkg-deb: $(cat "$stage/deb.log")"
  echo "${file##*/}: $(stat -c %s "$file") bytes"
  try_deb "$file"
}

# Starting and stopping is left to systemd's own words; without systemd (a container) they do nothing.
scripts_systemd() {
  cat > "$1/postinst" << 'SH'
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  if [ -z "$2" ]; then systemctl enable --now runnel.service; else systemctl try-restart runnel.service; fi
fi
SH
  cat > "$1/prerm" << 'SH'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
  systemctl disable --now runnel.service
fi
SH
  chmod 755 "$1/postinst" "$1/prerm"
}

# Installs into an empty root, removes, purges.
try_deb() {
  local root=$stage/deb-root
  local admin=$root/var/lib/dpkg
  mkdir -p "$admin"/{info,updates,triggers}
  touch "$admin/status" "$admin/available"
  local dpkg=(dpkg --root="$root" --force-not-root --force-architecture --force-script-chrootless --log=/dev/null)
  "${dpkg[@]}" --install "$1" > "$stage/deb.log" 2>&1 || die "dpkg --install: $(cat "$stage/deb.log")"
  expect_runs "$root/usr/bin/runnel" "$root/etc/runnel/runnel.conf"
  echo '# mine' >> "$root/etc/runnel/runnel.conf"
  "${dpkg[@]}" --remove runnel > "$stage/deb.log" 2>&1 || die "dpkg --remove: $(cat "$stage/deb.log")"
  [ ! -e "$root/usr/bin/runnel" ] || die "$1: the program stays after its removal"
  grep -q '^# mine' "$root/etc/runnel/runnel.conf" || die "$1: a changed configuration is gone after the removal"
  "${dpkg[@]}" --purge runnel > "$stage/deb.log" 2>&1 || die "dpkg --purge: $(cat "$stage/deb.log")"
  expect_nothing "$root" "$1" -path "$admin"
}

# expect_nothing ROOT PACKAGE [FIND-EXPRESSION]: no file is left but what the expression names.
expect_nothing() {
  local root=$1 package=$2 left
  shift 2
  left=$(find "$root" ${1:+\( "$@" \) -prune -o} ! -type d -print)
  [ -z "$left" ] || die "$package leaves $left"
}

ipk() {
  local tree=$stage/ipk architecture
  install -D -m 755 "$(program router-)" "$tree/data/usr/bin/runnel"
  install -D -m 644 conf/openwrt.conf "$tree/data/etc/runnel/runnel.conf"
  install -D -m 644 LICENSE "$tree/data/usr/share/licenses/runnel/LICENSE"
  gzip -9n < "$stage/licenses" > "$tree/data/usr/share/licenses/runnel/THIRD-PARTY.gz"
  chmod 644 "$tree/data/usr/share/licenses/runnel/THIRD-PARTY.gz"
  service openwrt "$tree/data/etc/init.d/runnel" 755
  mkdir "$tree/control"
  echo /etc/runnel/runnel.conf > "$tree/control/conffiles"
  scripts_procd "$tree/control"
  echo 2.0 > "$tree/debian-binary"
  find "$tree" -type d -exec chmod 755 {} +
  archive "$tree/data.tar.gz" "$tree/data" .
  for architecture in ${IPK//,/ }; do ipk_for "$architecture" "$tree"; done
}

# ipk_for ARCHITECTURE TREE: the package of what lies in TREE, by one of OpenWrt's names for the processor.
ipk_for() {
  local architecture=$1 tree=$2 file=$dist/runnel_$version-1_$1.ipk
  cat > "$tree/control/control" << CONTROL
Package: runnel
Version: $version-1
License: $license
Section: multimedia
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sb "$tree/data" | cut -f 1)
Description: $description
CONTROL
  archive "$tree/control.tar.gz" "$tree/control" .
  archive "$file" "$tree" ./debian-binary ./data.tar.gz ./control.tar.gz
  echo "${file##*/}: $(stat -c %s "$file") bytes"
  try_ipk "$file" "$architecture"
}

scripts_procd() {
  cat > "$1/postinst" << 'SH'
#!/bin/sh
[ -z "$IPKG_INSTROOT" ] || exit 0
/etc/init.d/runnel enable
/etc/init.d/runnel start
exit 0
SH
  cat > "$1/prerm" << 'SH'
#!/bin/sh
[ -z "$IPKG_INSTROOT" ] || exit 0
/etc/init.d/runnel stop
/etc/init.d/runnel disable
exit 0
SH
  chmod 755 "$1/postinst" "$1/prerm"
}

# What opkg does to a root: unpacks the data, runs the scripts with IPKG_INSTROOT, and removes what the data listed but
# for a configuration that was changed.
try_ipk() {
  local file=$1 architecture=$2 root=$stage/ipk-root unpacked=$stage/ipk-unpacked script field conf
  rm -rf "$root" "$unpacked"
  mkdir -p "$root" "$unpacked/control"
  tar -C "$unpacked" -xzf "$file"
  tar -C "$unpacked/control" -xzf "$unpacked/control.tar.gz"
  [ "$(cat "$unpacked/debian-binary")" = 2.0 ] || die "$file: debian-binary"
  for field in Package Version Maintainer License Installed-Size Description; do
    grep -q "^$field: ." "$unpacked/control/control" || die "$file: control has no $field"
  done
  grep -qx "Architecture: $architecture" "$unpacked/control/control" || die "$file: not for $architecture"
  tar -C "$root" -xzf "$unpacked/data.tar.gz"
  for script in postinst prerm; do
    IPKG_INSTROOT=$root sh "$unpacked/control/$script" || die "$file: $script"
  done
  expect_runs "$root/usr/bin/runnel" "$root/etc/runnel/runnel.conf"
  sh -n "$root/etc/init.d/runnel" || die "$file: its init script"
  conf=$(cat "$unpacked/control/conffiles")
  echo '# mine' >> "$root$conf"
  tar -tzf "$unpacked/data.tar.gz" | grep -v '/$' | grep -vFx ".$conf" | (cd "$root" && xargs rm)
  grep -q '^# mine' "$root$conf" || die "$file: a changed configuration is gone after the removal"
  rm "$root$conf"
  expect_nothing "$root" "$file"
}

chosen=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit ;;
    all) mapfile -t chosen < <(names) ;;
    *) target "$argument" || die "unknown target $argument; cross/build.sh -l lists them"; chosen+=("$argument") ;;
  esac
done
[ ${#chosen[@]} -gt 0 ] || { usage >&2; exit 2; }
lock
stages=$(mktemp -d)
trap 'rm -rf "$stages"' EXIT
for each in "${chosen[@]}"; do
  target "$each"
  stage=$stages/$TARGET
  mkdir "$stage"
  cross/licenses.sh "$TARGET" > "$stage/licenses"
  tarball
  if [ "$DEB" != - ]; then deb; fi
  if [ -x "$dist/runnel-router-$TRIPLE" ]; then ipk; else echo "no .ipk: cross/build.sh -r $TARGET makes its program"; fi
done
sums
