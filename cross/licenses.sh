#!/usr/bin/env bash
# Prints the licences of what others wrote and the program for TARGET holds: crates, Rust's standard library, musl.
#
#   cross/licenses.sh TARGET
#
# Of crates with a choice of licences it is the MIT licence. Equal texts are printed once. Needs what cross/build.sh
# leaves: the crates' sources in cargo's registry and musl's in target/cross.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
. cross/lib.sh
target "${1:-}" || { usage >&2; exit 2; }

# crates: name and version of each that is linked.
crates() {
  cargo tree --locked --offline --quiet --edges normal,no-proc-macro --target "$TRIPLE" --prefix none --format '{p}' |
    sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/p' | grep -v '^runnel ' | sort -u
}

# notice DIRECTORY: the text of the licence of the crate in there; of a crate without such a file, its first comment.
notice() {
  local file
  for file in "$1"/{LICENSE-MIT,LICENSE,LICENSE.md,LICENSE.txt,LICENSE-MIT.md,COPYING}; do
    if [ -s "$file" ]; then cat "$file"; return; fi
  done
  sed -n '1,/^ \*\//p' "$1/src/lib.rs" | grep -i -A 99 copyright || die "no licence in $1"
}

texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT

# add NAME: puts NAME before the text on standard input, or beside the name before an equal text.
add() {
  local text sum
  text=$(tr -d '\r')
  sum=$(tr -d ' \n' <<< "$text" | sha256sum | cut -c 1-16)
  [ -e "$texts/$sum.text" ] || printf '%s\n' "$text" > "$texts/$sum.text"
  echo "$1" >> "$texts/$sum.names"
}

add 'Rust standard library' << 'TEXT'
Copyright (c) The Rust Project Contributors

Under the terms of the MIT licence as cfg-if below, or of the Apache License, Version 2.0
(https://www.apache.org/licenses/LICENSE-2.0), as you like.
TEXT
add 'musl (C library)' < "$work/musl/COPYRIGHT"
while read -r name version; do
  found=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-$version")
  [ -d "${found[0]}" ] || die "cargo's registry has no sources of $name $version"
  notice "${found[0]}" | add "$name $version"
done < <(crates)

echo "runnel holds the following works of others, under these licences."
for file in "$texts"/*.names; do printf '%s\t%s\n' "$(head -n 1 "$file")" "${file%.names}"; done | sort |
  while IFS=$'\t' read -r _ file; do
    printf '\n\n== %s\n\n' "$(paste -sd , "$file.names" | sed 's/,/, /g')"
    cat "$file.text"
  done
