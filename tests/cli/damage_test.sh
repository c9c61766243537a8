#!/usr/bin/env bash
# damage_test.sh CISTERN -- one flipped bit, and one cut, in each kind of file of a root: `checkpoint check` ends with
# exit 4 and names file and offset; a restore takes the older checkpoint and says so, or refuses; a whole root stays silent.
set -u
CISTERN=$(realpath "$1")
export LC_ALL=C
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cistern-damage-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
passed=0 failed=0

fail() { echo "FAIL: $*"; sed 's/^/  | /' out err 2>/dev/null | head -20; failed=$((failed + 1)); }
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
flip() { # flip FILE OFFSET: its lowest bit
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
copy() { rm -rf root && cp -a "$1" root; }
# named FILE OFFSET WHAT: a problem of that file, with an offset at most 64 KiB before the byte and 64 bytes behind it.
named() {
    local at
    at=$(sed -n "s|.*\"path\":\"[^\"]*$1\".*\"offset\":\([0-9]*\).*|\1|p; s|.*\"offset\":\([0-9]*\).*\"path\":\"[^\"]*$1\".*|\1|p" compact |
        head -1)
    if [ -n "$at" ] && [ "$at" -le $(($2 + 64)) ] && [ $((at + 65536)) -ge "$2" ]; then ok; else fail "$3: offset \"$at\", byte $2"; fi
}
# check_finds FILE OFFSET WHAT: text and JSON
check_finds() {
    expect 4 "$3" "$CISTERN" checkpoint check root --read-data
    says out "$1" "$3 names the file"
    expect 4 "$3, --json" "$CISTERN" checkpoint check root --read-data --json
    says out '"ok": false' "$3, --json"
    tr -d '\n' <out | sed 's/": */":/g; s/, */,/g; s/{ */{/g; s/}/}\n/g' >compact
    named "$1" "$2" "$3"
}

awk 'BEGIN { srand(5); for (i = 0; i < 200000; i++) print "w" int(rand() * 30000) }' >text
sort text | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)$/\2\t\1/' | sort >text.expected

for backend in heap rocks; do
    data=sst
    [ $backend = heap ] && data=seg
    count=("$CISTERN" run wordcount --input text --output o --backend $backend --slots 2 --managed 64m --checkpoint-dir root)
    rm -rf root
    # the rate spreads the records over several checkpoints
    expect 0 "run, $backend" "${count[@]}" --checkpoint-every 30000 --retain 2 --rate 800000
    if [ "$(find root/chk -name MANIFEST | wc -l)" -eq 2 ]; then ok; else fail "$backend: two checkpoints are kept"; fi
    rm -rf whole && mv root whole
    copy whole
    expect 0 "whole, $backend" "$CISTERN" checkpoint check root --read-data --json
    says out '"ok": true' "whole, $backend"

    newest=$(cd whole && find chk -name MANIFEST | sort | tail -1)
    record=$(cd whole && grep -l '"kind": "checkpoint"' log/0* | tail -1)
    list=$(cd whole && find data -name '*.lst' | sort | tail -1)
    file=$(cd whole && find data -name "*.$data" -size +20k | sort | tail -1)
    for victim in JOB "$record" "$newest" "$list" "$file"; do
        bytes=$(stat -c %s "whole/$victim")
        for at in 3 $((bytes / 2)) $((bytes - 1)); do
            copy whole
            flip "root/$victim" "$at"
            case $victim in
            *.sst) check_finds "$victim" 0 "$backend: bit of $victim at $at" ;; # its hash tells that, not where
            *) check_finds "$victim" "$at" "$backend: bit of $victim at $at" ;;
            esac
        done
        for at in 0 1 $((bytes / 2)) $((bytes - 1)); do
            copy whole
            truncate -s "$at" "root/$victim"
            check_finds "$victim" "$at" "$backend: $victim cut to $at"
        done
        copy whole
        rm "root/$victim"
        expect 4 "$backend: $victim missing" "$CISTERN" checkpoint check root
        says out "$victim" "$backend: $victim missing"
    done
    # a flipped bit of data shows only when data is read
    copy whole
    flip "root/$file" 10000
    expect 0 "$backend: not without --read-data" "$CISTERN" checkpoint check root

    # ---- restores: the newest is cut short, has a flipped bit, or misses a list
    older=$(cd whole && find chk -name MANIFEST | sort | head -1)
    older_id=$((10#$(basename "$(dirname "$older")" | cut -d- -f1)))
    newest_id=$((10#$(basename "$(dirname "$newest")" | cut -d- -f1)))
    for damage in "truncate -s 700 root/$newest" "truncate -s 0 root/$newest" "flip root/$newest 200" "rm root/$newest" \
        "rm root/$list" "truncate -s 50 root/$list"; do
        copy whole
        $damage
        rm -f o
        expect 0 "$backend: latest after $damage" "${count[@]}" --restore latest
        says err "checkpoint $newest_id is SKIPPED" "$backend: said aloud, $damage"
        says err "restored checkpoint $older_id" "$backend: the older one, $damage"
        if cmp -s o text.expected; then ok; else fail "$backend: counts after $damage"; fi
    done
    # both damaged: refused, nothing touched
    copy whole
    truncate -s 700 "root/$newest"
    truncate -s 700 "root/$older"
    find root/chk root/data -type f | sort >before
    rm -f o
    expect 4 "$backend: both damaged" "${count[@]}" --restore latest
    says err "SKIPPED" "$backend: both damaged"
    if [ ! -e o ]; then ok; else fail "$backend: both damaged, but an output was written"; fi
    find root/chk root/data -type f | sort >after
    if cmp -s before after; then ok; else fail "$backend: both damaged, and files were removed"; fi

    # ---- a checkpoint's directory copied alone
    rm -rf bare && cp -r "whole/$(dirname "$newest")" bare
    expect 0 "$backend: a bare copy shows" "$CISTERN" checkpoint show bare
    says out "checkpoint $newest_id of job" "$backend: a bare copy shows"
    says out "key groups 64..127" "$backend: a bare copy shows its slices"
    says out "complete: unknown (no commit log)" "$backend: a bare copy has no log"
    says out "state words  reducing" "$backend: a bare copy shows its states"
    expect 0 "$backend: a bare copy as JSON" "$CISTERN" checkpoint show bare --json
    says out '"complete": null' "$backend: a bare copy as JSON"
    says out '"bare": true' "$backend: a bare copy as JSON"
    expect 3 "$backend: files of a bare copy" "$CISTERN" checkpoint files bare --json
    says out '"exists":false' "$backend: files of a bare copy"
    expect 3 "$backend: ls of a bare copy" "$CISTERN" checkpoint ls bare --json
    says out '"complete":null' "$backend: ls of a bare copy"
    expect 10 "$backend: a bare copy does not restore" "$CISTERN" run wordcount --input text --output o --managed 64m --restore ./bare
    says err "without its data files" "$backend: a bare copy does not restore"
done

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 300 ]
