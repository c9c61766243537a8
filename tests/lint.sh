#!/usr/bin/env bash
# lint.sh -- the house rules a compiler does not check: lengths, includes, leftovers. Part of the test set.
set -u
cd "$(dirname "$0")/.."
bad=0
fail() { printf '%s\n' "$1"; bad=1; }
files=$(git ls-files -co --exclude-standard '*.c' '*.h' '*.cc')
[ -n "$files" ] || { echo "lint: no sources found"; exit 1; }
while IFS= read -r line; do fail "$line"; done < <(
    wc -l $files | awk '$2 != "total" && $1 > 800 {print $2 ": " $1 " lines; a file holds one noun in at most 800"}'
    awk 'FNR == 1 {inside = 0} /^\{/ {inside = 1; start = FNR} /^\}/ {
             if (inside && FNR - start - 1 > 70) print FILENAME ":" start ": a function of " FNR - start - 1 " lines; at most 70"
             inside = 0 }' $files
    grep -nE '#include "\.\./' $files | sed 's/$/: includes go through a module, never up a folder/'
    grep -nE '\b(TODO|FIXME|XXX|HACK)[:(]' $files | sed 's/$/: finish it or write it down as an issue/'
    grep -lE '#include <liburing' $files | grep -v '^checkpoint/engine_uring' | sed 's/$/: liburing belongs to checkpoint\/engine_uring.c/'
    grep -lE '#include <yaml' $files | grep -v '^tools/conf_yaml' | sed 's/$/: libyaml belongs to tools\/conf_yaml.c/'
    grep -lE '#include [<"]rocksdb/' $files | grep -v '^rocks/' | sed 's/$/: RocksDB belongs under rocks\//'
    grep -nE '[^_[:alnum:]](malloc|calloc|realloc|free|strdup)\(' $(printf '%s\n' $files | grep -vE '^(tests|tools|base/alloc\.c|rocks/.*\.cc|memory/block_pool)') |
        grep -vE '^[^:]+:[0-9]+:\s*(\*|/\*|//)' | sed 's/$/: allocate through base (cistern_allocate)/'
)
[ $bad -eq 0 ] && echo "lint: $(printf '%s\n' $files | wc -l) files are in order"
exit $bad
