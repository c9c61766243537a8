#!/usr/bin/env bash
# limits_test.sh CISTERN WITHOUT_URING -- under what a container or a login may take away: locked memory, io_uring, address space,
# open files. The job works, or says what stands in its way.
set -u
CISTERN=$(realpath "$1") WITHOUT_URING=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0
ok() { passed=$((passed + 1)); }
fail() {
    failed=$((failed + 1))
    echo "FAIL: $1"
    tail -n 5 out err 2>/dev/null | sed 's/^/  | /'
}
expect() { # expect STATUS WHAT COMMAND...
    local status=$1 what=$2
    shift 2
    "$@" >out 2>err
    local got=$?
    if [ $got -eq "$status" ]; then ok; else fail "$what: exit $got, expected $status"; fi
}
says() { if grep -qF -- "$2" "$1"; then ok; else fail "$3: \"$2\" is not in $1"; fi; }
same() { if cmp -s o expected; then ok; else fail "$1: the counts are wrong"; fi; }

find /usr/share/common-licenses -type f -exec cat {} + | head -c 2000000 >text
tr -s '[:space:]' '\n' <text | sed '/^$/d' | LC_ALL=C sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)$/\2\t\1/' | LC_ALL=C sort >expected
for backend in heap rocks; do
    run=("$CISTERN" run wordcount --input text --output o --backend $backend --managed 48m --checkpoint-dir job --checkpoint-every 50000)
    limited() { # limited OPTION VALUE COMMAND...
        (ulimit "$1" "$2" && shift 2 && exec "$@")
    }
    again() { rm -rf job o; }

    again
    expect 0 "$backend: 64 KiB of locked memory" limited -l 64 "${run[@]}"
    same "$backend: 64 KiB of locked memory"

    again
    expect 0 "$backend: no io_uring" "$WITHOUT_URING" "${run[@]}"
    same "$backend: no io_uring"
    if [ "$(grep -c io_uring err)" -eq 1 ]; then ok; else fail "$backend: no io_uring: said once"; fi
    again
    expect 13 "$backend: io_uring insisted on" "$WITHOUT_URING" "${run[@]}" --io uring
    says err "--io auto" "$backend: io_uring insisted on"

    again
    expect 0 "$backend: 3 GB of address space" limited -v 3000000 "${run[@]}"
    same "$backend: 3 GB of address space"
    again
    expect 1 "$backend: too little address space" limited -v 300000 "${run[@]}"
    says err "ulimit -v" "$backend: too little address space"
    if [ ! -e o ]; then ok; else fail "$backend: too little address space: an output was made"; fi

    again
    expect 0 "$backend: 64 open files" limited -n 64 "${run[@]}"
    same "$backend: 64 open files"
    expect 0 "$backend: what was published" "$CISTERN" checkpoint check job --read-data
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 25 ]
