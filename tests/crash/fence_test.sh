#!/usr/bin/env bash
# fence_test.sh CISTERN -- two writers on one folder: a live one keeps the second out; a stopped one is taken over, and when it wakes
# it finds itself fenced: exit 11, no output.
set -u
CISTERN=$1
source "$(dirname "$0")/lib.sh"
make_text "$scratch/text" 400000 20000 11
reference "$scratch/text" >"$scratch/expected"
run() { # run OUTPUT OPTIONS...
    local output=$1
    shift
    exec "$CISTERN" run wordcount --input "$scratch/text" --output "$output" --managed 64m --backend $backend \
        --checkpoint-dir "$scratch/job" --checkpoint-every 20000 "$@"
}
published() { # waits until a checkpoint is in the log
    for _ in $(seq 1 100); do
        [ -n "$("$CISTERN" checkpoint ls "$scratch/job" 2>/dev/null)" ] && return
        sleep 0.05
    done
    fail "no checkpoint was published"
}

# A woken RocksDB writer meets its swept working files before it meets the log: still 11, not an I/O error.
for backend in heap rocks; do
    rm -rf "$scratch/job" "$scratch/one" "$scratch/two"
    (run "$scratch/one" --rate 100000 2>"$scratch/one.log") &
    first=$!
    published
    (run "$scratch/two" --restore latest 2>"$scratch/two.log")
    code=$?
    [ $code -eq 11 ] || fail "a second writer beside a live one ended with $code, not 11"
    grep -q "$first" "$scratch/two.log" || fail "the refusal does not name the holder's pid $first: $(cat "$scratch/two.log")"

    kill -STOP $first
    (run "$scratch/two" --restore latest 2>"$scratch/two.log")
    code=$?
    [ $code -eq 0 ] || { cat "$scratch/two.log"; fail "the writer that takes over from a stopped one ended with $code"; }
    cmp "$scratch/two" "$scratch/expected" || fail "the second writer's counts differ"

    kill -CONT $first
    wait $first
    code=$?
    [ $code -eq 11 ] || { cat "$scratch/one.log"; fail "the woken writer ended with $code, not 11"; }
    [ ! -e "$scratch/one" ] || fail "the fenced writer wrote its output"
    "$CISTERN" checkpoint check "$scratch/job" --read-data >/dev/null || fail "the folder is not whole"
done
echo "2 passed, 0 failed"
