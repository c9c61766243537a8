#!/usr/bin/env bash
# full_disk_test.sh CISTERN -- checkpoints on a disk that fills up: each fails aloud, the job goes on and counts right, what was
# published stays whole; with room again checkpoints are completed again. Needs the right to mount a tmpfs.
set -u
CISTERN=$(realpath "$1")
export LC_ALL=C
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cistern-full-XXXXXX")
mkdir "$scratch/disk"
if ! mount -t tmpfs -o size=8m tmpfs "$scratch/disk" 2>"$scratch/why"; then
    echo "skipped: a small disk of its own cannot be mounted here: $(cat "$scratch/why")"
    rm -rf "$scratch"
    exit 77
fi
trap 'cd /; umount "$scratch/disk"; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
passed=0 failed=0

fail() { echo "FAIL: $*"; head -20 out err 2>/dev/null | cut -c1-300 | sed 's/^/  | /'; failed=$((failed + 1)); }
ok() { passed=$((passed + 1)); }
expect() { # expect CODE WHAT COMMAND...: stdout in `out`, stderr in `err`
    local code=$1 what=$2
    shift 2
    timeout -s KILL 60 "$@" >out 2>err </dev/null
    local got=$?
    if [ $got -eq "$code" ]; then ok; else fail "$what: exit $got, expected $code"; fi
}
says() { # says FILE TEXT WHAT
    if grep -qF -- "$2" "$1"; then ok; else fail "$3: \"$2\" is not in $1"; fi
}
says_not() { if grep -qF -- "$2" "$1"; then fail "$3: \"$2\" is in $1"; else ok; fi; }
same() { if cmp -s o text.expected; then ok; else fail "$1: the counts are wrong"; fi; }
whole() { # whole WHAT: what is published is whole, and there is some
    expect 0 "$1: check" "$CISTERN" checkpoint check disk/job --read-data --json
    says out '"ok": true' "$1: check"
    expect 0 "$1: ls" "$CISTERN" checkpoint ls disk/job --json
    says out '"complete":true' "$1: ls"
}
# Each data file is part of a listed checkpoint: failed attempts leave nothing on a disk that is short of room.
nothing_left() {
    "$CISTERN" checkpoint ls disk/job --json | sed -n 's/.*"path":"\([^"]*\)".*/\1/p' | while read -r path; do
        "$CISTERN" checkpoint files "$path" --json | sed -n 's/.*"path":"\(data[^"]*\)".*/\1/p'
    done | sort -u >listed
    (cd disk/job && find data -type f | sort) >there
    if cmp -s listed there; then ok; else fail "$1: $(comm -13 listed there | wc -l) files nobody refers to"; fi
}

resize() { mount -o "remount,size=$1" "$scratch/disk" || fail "the disk cannot be made $1 large"; }

awk 'BEGIN { for (i = 0; i < 600000; i++) print "word-number-" (i * 7919) % 500000 }' >text
sort text | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)$/\2\t\1/' | sort >text.expected

for backend in heap rocks; do
    # RocksDB's own files elsewhere: otherwise they are what does not fit, and the job cannot go on
    count=("$CISTERN" run wordcount --input text --output o --backend $backend --slots 2 --managed 128m --work-dir "$scratch"
        --checkpoint-dir disk/job)

    # ---- the state outgrows the disk, up to the end
    rm -rf disk/* o
    resize 5m
    expect 0 "$backend: outgrown" "${count[@]}" --checkpoint-every 60000 --retain 1 --rate 500000
    says err "failed, the job goes on" "$backend: outgrown"
    says err "No space left on device" "$backend: outgrown"
    says err "no checkpoint holds its end" "$backend: the last one failed"
    same "$backend: outgrown"
    whole "$backend: outgrown"
    nothing_left "$backend: outgrown"
    rm -f o
    resize 64m
    expect 0 "$backend: continued with room" "${count[@]}" --restore latest --retain 1
    says err "restored checkpoint" "$backend: continued with room"
    says_not err "SKIPPED" "$backend: continued with room"
    same "$backend: continued with room"
    whole "$backend: continued with room"

    # ---- full for a while
    rm -rf disk/* o
    resize 24m
    head -c 19m /dev/zero >disk/filler
    (
        while ! grep -q "failed, the job goes on" err 2>/dev/null && [ ! -e ended ]; do sleep 0.02; done
        rm -f disk/filler
    ) &
    waiter=$!
    : >err
    expect 0 "$backend: full for a while" "${count[@]}" --checkpoint-every 60000 --retain 1 --rate 250000
    : >ended
    wait $waiter
    rm -f ended
    says err "failed, the job goes on" "$backend: full for a while"
    says_not err "no checkpoint holds its end" "$backend: full for a while"
    same "$backend: full for a while"
    whole "$backend: full for a while"
    nothing_left "$backend: full for a while"

    # ---- no room for as much as a log record: refused, and nothing is touched
    rm -f o
    (cd disk/job && find chk data -type f | sort) >before
    cat /dev/zero >disk/filler 2>/dev/null
    expect 1 "$backend: not one byte" "${count[@]}" --restore latest
    says err "No space left on device" "$backend: not one byte"
    if [ ! -e o ]; then ok; else fail "$backend: not one byte, and yet an output"; fi
    rm disk/filler
    (cd disk/job && find chk data -type f | sort) >after
    if cmp -s before after; then ok; else fail "$backend: a refused run changed files"; fi
    whole "$backend: after a refusal"
done

# ---- RocksDB's own files do not fit: the job cannot go on, and says why; what is published stays
rm -rf disk/* o
resize 6m
expect 1 "no room to work" "$CISTERN" run wordcount --input text --output o --backend rocks --slots 2 --managed 128m \
    --checkpoint-dir disk/job --checkpoint-every 60000 --rate 500000
says err "No space left on device" "no room to work"
says err "--work-dir" "no room to work: the way out"
if [ ! -e o ]; then ok; else fail "no room to work, and yet an output"; fi
whole "no room to work"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 60 ]
