#!/usr/bin/env bash
# install_test.sh BUILD SOURCE -- what a packager does: installs into a folder, builds the embedding example with pkg-config alone, runs
# it; the C library must not need RocksDB, jemalloc or C++.
set -eu
build=$1 source=$2
prefix=$(mktemp -d "${TMPDIR:-/tmp}/cistern-install-XXXXXX")
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >/dev/null
library=$(dirname "$(find "$prefix" -name libcistern.so | head -n 1)")
export PKG_CONFIG_PATH=$library/pkgconfig LD_LIBRARY_PATH=$library
cc -std=c17 -Wall -Wextra -Werror "$source/examples/embed.c" $(pkg-config --cflags --libs cistern) -o "$prefix/embed"
"$prefix/embed" | sort | grep -q "^budget	2$"
needed=$(readelf -d "$library/libcistern.so" | grep NEEDED)
for unwanted in rocksdb jemalloc stdc++; do
    if grep -q "$unwanted" <<<"$needed"; then echo "libcistern.so needs $unwanted"; exit 1; fi
done
exported=$(nm -D --defined-only "$library/libcistern.so" "$library/libcistern-rocks.so" | awk 'NF == 3 {print $3}' | grep -v '^cistern_' || true)
[ -z "$exported" ] || { echo "exported beyond cistern_*: $exported"; exit 1; }
"$prefix/bin/cistern" --version
echo "1 passed, 0 failed"
