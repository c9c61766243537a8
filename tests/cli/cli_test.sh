#!/usr/bin/env bash
# cli_test.sh CISTERN -- what a person sees: exact texts, exit codes, outputs compared with sort | uniq -c, restores.
set -u
CISTERN=$(realpath "$1")
export LC_ALL=C
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cistern-cli-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
passed=0 failed=0

fail() { echo "FAIL: $*"; [ -s err ] && sed 's/^/  | /' err; failed=$((failed + 1)); }
ok() { passed=$((passed + 1)); }
# expect CODE WHAT COMMAND...: runs it with stdout in `out` and stderr in `err`.
expect() {
    local code=$1 what=$2
    shift 2
    "$@" >out 2>err </dev/null
    local got=$?
    if [ $got -eq "$code" ]; then ok; else fail "$what: exit $got, expected $code"; fi
}
says() { # says FILE TEXT WHAT
    if grep -qF -- "$2" "$1"; then ok; else fail "$3: \"$2\" is not in $1"; fi
}
is() { # is FILE TEXT WHAT: the whole content
    if [ "$(cat "$1")" = "$2" ]; then ok; else fail "$3: got \"$(cat "$1")\""; fi
}
same() { if cmp -s "$1" "$2"; then ok; else fail "$3: $1 and $2 differ"; fi }
reference() {
    awk 1 "$@" | tr -s ' \t\r\f\v' '\n' | grep -v '^$' | sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)$/\2\t\1/' | sort
}
count() { "$CISTERN" run wordcount "$@"; }

# ---- names, help, suggestions
expect 0 version "$CISTERN" --version
if grep -qxE 'cistern [0-9]+\.[0-9]+\.[0-9]+' out && [ "$(wc -l <out)" -eq 1 ]; then ok; else fail "version line"; fi
expect 0 help "$CISTERN" --help
says out "usage: cistern COMMAND" help
for command in "run" "checkpoint" "bench" "run wordcount" "checkpoint ls" "checkpoint show" "checkpoint files" "checkpoint check" \
    "bench memory" "bench heap" "bench rocks" "bench checkpoint" "bench io"; do
    # shellcheck disable=SC2086
    expect 0 "help of $command" "$CISTERN" $command --help
    says out "usage: cistern $command" "help of $command"
done
expect 0 "help of wordcount" count --help
for option in input output preset backend slots max-parallelism managed checkpoint-dir checkpoint-interval checkpoint-every retain \
    restore savepoint io rate report metrics metrics-interval; do
    says out "--$option" "help names every option"
done
expect 2 "no command" "$CISTERN"
expect 2 "unknown command" "$CISTERN" rnu
says err "unknown command rnu; did you mean run?" "unknown command"
expect 2 "unknown job" "$CISTERN" run wordcuont
says err "did you mean wordcount?" "unknown job"
expect 2 "unknown verb" "$CISTERN" checkpoint shwo x
says err "did you mean show?" "unknown verb"
expect 2 "mistyped --version" "$CISTERN" --verison
says err "did you mean --version?" "mistyped --version"
expect 0 "help of a verb" "$CISTERN" help checkpoint ls
says out "usage: cistern checkpoint ls DIR" "help of a verb"
for option in --help --version; do
    expect 1 "$option on a full disk" sh -c '"$0" "$1" >/dev/full' "$CISTERN" $option
done
expect 2 "no seconds" "$CISTERN" bench memory --seconds 0
expect 2 "unknown option" count --chekpoint-every 3
is err "cistern: unknown option --chekpoint-every; did you mean --checkpoint-every?
  see \`cistern run wordcount --help\`" "unknown option"
expect 2 "unknown key" count --input /dev/null -D taskmanager.memory.manged.size=64m
says err "did you mean taskmanager.memory.managed.size?" "unknown key"
expect 2 "no input" count
expect 2 "two rhythms" count --input x --checkpoint-dir y --checkpoint-every 5 --checkpoint-interval 1s
expect 2 "rhythm without a directory" count --input x --checkpoint-every 5
says err "needs --checkpoint-dir" "rhythm without a directory"
expect 2 "zero slots" count --input x --slots 0
count --input /dev/null --managed auto >out 2>err # a size where a control group sets a limit, else it says that none does
case $? in
0) says err "--managed auto: " "a budget from the limit" ;;
2) if grep -qE 'no control group limits|less than the least budget' err; then ok; else fail "auto without a limit"; fi ;;
*) fail "--managed auto" ;;
esac
expect 2 "missing argument" "$CISTERN" checkpoint ls

# ---- counting
printf 'b a\tb\r\nc\va\fb  a\n\nlast' >small
printf 'a\t3\nb\t3\nc\t1\nlast\t1\n' >small.expected
awk 'BEGIN { srand(5); for (i = 0; i < 120000; i++) { k = rand() < 0.2 ? int(rand() * 30) : int(rand() * 20000)
    printf "%s%s", substr("abcdefghijklmnopqrstuvwxyz", 1, k % 17) k, (i % 12 == 11 ? "\n" : (i % 5 ? " " : "\t")) } }' >text
reference text >text.expected
mkdir tree tree/b && cp small tree/a && cp text tree/b/c && : >tree/empty
reference small text >tree.expected
for backend in heap rocks; do
    for slots in 1 3; do
        expect 0 "small, $backend, $slots" count --input small --backend $backend --slots $slots --managed 96m
        same out small.expected "small, $backend, $slots"
        expect 0 "text, $backend, $slots" count text --output o --backend $backend --slots $slots --managed 96m
        same o text.expected "text, $backend, $slots"
    done
done
expect 0 "a directory" count --input tree --output o --backend heap --managed 64m
same o tree.expected "a directory"
: >nothing
expect 0 "empty input" count --input nothing --output o --backend heap --managed 64m
if [ -e o ] && [ ! -s o ]; then ok; else fail "empty input gives an empty output"; fi
printf 'x\0y x\0y \377\n' >bytes
expect 0 "any bytes" count --input bytes --backend heap --managed 64m
printf 'x\0y\t2\n\377\t1\n' >bytes.expected
same out bytes.expected "any bytes"
head -c 65535 /dev/zero | tr '\0' w >long
expect 0 "the longest word" count --input long --backend heap --managed 64m
printf w >>long
expect 1 "a word too long" count --input long --backend heap --managed 64m
says err "longer than 65535 bytes" "a word too long"
expect 0 "Flink's keys" count --input small -D taskmanager.memory.managed.size=64m -D state.backend.type=hashmap --report r
says r '"managed_bytes": 67108864' "Flink's keys"
says r '"backend": "heap"' "Flink's keys"

# ---- refusals
expect 10 "missing input" count --input absent --checkpoint-dir never --managed 64m
says err "absent" "missing input"
if [ ! -e never ]; then ok; else fail "a missing input must leave nothing behind"; fi
expect 10 "missing directory of the output" count --input small --output absent/o --managed 64m
expect 1 "a fifo" sh -c 'mkfifo f; exec "$0" run wordcount --input f --managed 64m' "$CISTERN"
expect 2 "budget too small" count --input small --managed 1m
says err "managed" "budget too small"
awk 'BEGIN { for (i = 0; i < 1500000; i++) printf "%d-%d-some-word-that-takes-room\n", i, i * 7 }' >many
expect 5 "heap out of budget" count --input many --backend heap --managed 48m --output o5
says err "managed" "heap out of budget names the option"
if [ ! -e o5 ]; then ok; else fail "out of budget must write no output"; fi
rm many

# ---- checkpoints and restore
expect 0 "checkpoints" count --input text --output o --backend heap --managed 64m --checkpoint-dir job --checkpoint-every 20000 \
    --retain 3 --report r
same o text.expected "with checkpoints"
says r '"checkpoints": [' "report"
expect 0 "ls" "$CISTERN" checkpoint ls job
says out "checkpoint" "ls"
expect 0 "ls --json" "$CISTERN" checkpoint ls job --json
says out '"complete":true' "ls --json"
newest=$(sed -n '$s/.*"path":"\([^"]*\)".*/\1/p' out)
case $newest in /*) ;; *) newest=job/$newest ;; esac
[ -d "$newest" ] || newest=$(ls -d job/chk/* | tail -1)
expect 0 "show" "$CISTERN" checkpoint show "$newest"
expect 0 "show --json" "$CISTERN" checkpoint show "$newest" --json
for field in format metadata_version checkpoint_id state_bytes operators parallelism max_parallelism subtasks key_groups; do
    says out "\"$field\"" "show --json"
done
says out '"complete": true' "show --json"
tr -d ' \n' <out >compact
words=$(wc -l <text.expected)
says compact "\"states\":[{\"id\":1,\"name\":\"words\",\"kind\":\"reducing\",\"entries\":$words," "show --json: the union of the slices' states"
expect 0 "show" "$CISTERN" checkpoint show "$newest"
says out "complete: yes" "show"
says out "state words  reducing  ${words%???},${words: -3} entries" "show"
expect 0 "files" "$CISTERN" checkpoint files "$newest" --json
says out '"exists":true' "files"
expect 0 "check" "$CISTERN" checkpoint check job --read-data --json
says out '"ok": true' "check"
expect 1 "a second run without --restore" count --input text --output o --backend heap --managed 64m --checkpoint-dir job
says err "--restore latest" "a second run without --restore"
for variant in "heap 1" "heap 2" "rocks 1" "rocks 2"; do
    # shellcheck disable=SC2086
    set -- $variant
    rm -f o
    expect 0 "finished run again, $variant" count --input text --output o --backend "$1" --slots "$2" --managed 96m \
        --checkpoint-dir job --restore latest
    same o text.expected "finished run again, $variant"
done
touch -d '2001-01-01' text
expect 1 "changed input" count --input text --output o --backend heap --managed 64m --checkpoint-dir job --restore latest
says err "changed since the checkpoint" "changed input"
expect 10 "latest of nothing" count --input text --managed 64m --checkpoint-dir absent --restore latest
if [ ! -e absent ]; then ok; else fail "--restore latest must not make a directory"; fi
mkdir foreign && cp small foreign/
expect 10 "a foreign directory" count --input text --managed 64m --checkpoint-dir foreign --restore latest
if [ "$(ls foreign)" = small ]; then ok; else fail "a foreign directory must stay as it is"; fi
expect 10 "latest in memory" count --input text --managed 64m --preset memory --restore latest
says err "kept in memory" "latest in memory"
expect 0 "preset memory" count --input text --output o --managed 64m --preset memory --checkpoint-every 30000
same o text.expected "preset memory"
expect 0 "preset memory on RocksDB" count --input text --output o --managed 64m --preset memory --backend rocks --slots 2 \
    --checkpoint-every 30000 --report r
same o text.expected "preset memory on RocksDB"
# one that comes before the last one's flush is done may be declined
if ! grep -q '"checkpoint_count": 0' r; then ok; else fail "preset memory on RocksDB: no checkpoint was completed"; fi
# a sanitizer build says that it does not run on jemalloc
if ! grep -vE "OWNED accounting|flush of the snapshot before" err | grep -q .; then ok; else fail "preset memory on RocksDB: warnings"; fi

# ---- the budget from Flink's memory model
mkdir -p conf
printf 'taskmanager:\n  memory:\n    process:\n      size: 1g\n  numberOfTaskSlots: 2\nstate.backend.type: hashmap\njobmanager.rpc.address: here\n' >conf/config.yaml
expect 0 "config" count --input small --output o --config conf --report r
says r '"managed_bytes": 241591914' "config: what cistern plan says"
says r '"slots": 2' "config"
says r '"backend": "heap"' "config"
expect 0 "-D over the file" count --input small --output o --config conf -D taskmanager.memory.process.size=2g --managed 64m --report r
says r '"managed_bytes": 67108864' "--managed over all of it"
expect 2 "sizes that Flink refuses" count --input small --output o -D taskmanager.memory.process.size=100m
says err "exceed configured Total Process Memory (100.000mb (104857600 bytes))" "sizes that Flink refuses"
expect 10 "no such configuration" count --input small --output o --config nowhere

# ---- what a path may be
expect 0 "ls of a file: URI" "$CISTERN" checkpoint ls "file://$PWD/job"
expect 0 "show of a file: URI" "$CISTERN" checkpoint show file:job
expect 0 "ls of one checkpoint" "$CISTERN" checkpoint ls "$newest" --json
says out '"complete":true' "ls of one checkpoint: its root's log is asked"
if [ "$(wc -l <out)" -eq 1 ]; then ok; else fail "ls of one checkpoint: one row"; fi
for verb in ls show files check; do
    expect 13 "$verb of another store" "$CISTERN" checkpoint $verb s3://bucket/prefix
    mkdir -p hollow
    expect 10 "$verb of an empty folder" "$CISTERN" checkpoint $verb hollow
    says err "(no JOB" "$verb of an empty folder"
done
for pointer in absent hollow job s3://bucket/prefix; do
    code=10
    [ "${pointer#s3:}" != "$pointer" ] && code=13
    expect $code "restore of $pointer" count --input small --managed 64m --restore "$pointer" --checkpoint-dir unmade
    if [ ! -e unmade ]; then ok; else fail "restore of $pointer: made a root"; fi
done
expect 10 "restore of a root" count --input small --managed 64m --restore job
says err "--restore latest" "restore of a root"
expect 1 "a full disk behind standard output" sh -c '"$0" checkpoint show job --json >/dev/full' "$CISTERN"
says err "cannot be written" "a full disk behind standard output"

# ---- looking at a folder while its job publishes and retires
for backend in heap rocks; do
    rm -rf live
    "$CISTERN" run wordcount --input text --output o --backend $backend --managed 64m --checkpoint-dir live --checkpoint-every 5000 \
        --rate 80000 >/dev/null 2>&1 &
    pid=$!
    until [ -n "$("$CISTERN" checkpoint ls live 2>/dev/null)" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        expect 0 "check beside a live $backend job" "$CISTERN" checkpoint check live --json
        expect 0 "ls beside a live $backend job" "$CISTERN" checkpoint ls live --json
    done
    wait $pid
done

# ---- what the job writes is not what it reads
mkdir -p mixed/sub && cp small mixed/a && cp text mixed/sub/b
mixed=(--input mixed --output mixed/out --report mixed/report --metrics mixed/metrics --checkpoint-dir mixed/job --managed 64m
    --backend heap --savepoint mixed/sp)
expect 0 "output in the input's folder" count "${mixed[@]}"
same mixed/out tree.expected "output in the input's folder"
expect 0 "output in the input's folder, again" count "${mixed[@]}" --restore latest
same mixed/out tree.expected "output in the input's folder, again"
says err "the savepoint mixed/sp was taken before" "the savepoint of an earlier life"
for option in output report metrics checkpoint-dir; do
    expect 1 "--$option is the input" count --input mixed/a --$option mixed/a --managed 64m
    same small mixed/a "--$option is the input"
done

# ---- savepoints that cannot be taken
expect 1 "a savepoint over another" count --input small --managed 64m --checkpoint-dir unmade --savepoint mixed/sp
if [ ! -e unmade ]; then ok; else fail "a savepoint over another is found before a root is made"; fi
expect 13 "a savepoint elsewhere" count --input small --managed 64m --checkpoint-dir unmade --savepoint s3://bucket/prefix
expect 1 "a savepoint of checkpoints in memory" count --input small --managed 64m --preset memory --savepoint sm
expect 1 "a savepoint that fails" count --input small --output o --managed 64m --checkpoint-dir late --savepoint /proc/sp
says err "the savepoint /proc/sp was not taken" "a savepoint that fails"
same o small.expected "a savepoint that fails"
expect 0 "a savepoint's URI" count --input small --output o --managed 64m --checkpoint-dir late --restore latest --savepoint "file:$PWD/uri"
expect 0 "a savepoint's URI" "$CISTERN" checkpoint check uri --read-data

# ---- stopped by a signal, with a savepoint; continued elsewhere, by the other backend
for variant in "heap rocks" "rocks heap"; do
    # shellcheck disable=SC2086
    set -- $variant
    rm -rf stop sp o other
    "$CISTERN" run wordcount --input text --output o --backend "$1" --managed 96m --checkpoint-dir stop --rate 60000 \
        --savepoint sp >out 2>err &
    pid=$!
    sleep 0.8
    kill -TERM $pid
    wait $pid
    code=$?
    if [ $code -eq 0 ]; then ok; else fail "SIGTERM, $1: exit $code"; fi
    if [ ! -e o ]; then ok; else fail "a stopped run must write no output"; fi
    expect 0 "show the savepoint of $1" "$CISTERN" checkpoint show sp
    says out savepoint "show the savepoint of $1"
    expect 0 "continue $1's savepoint on $2" count --input text --output o --backend "$2" --slots 2 --managed 96m --restore ./sp
    same o text.expected "continue $1's savepoint on $2"
    rm -f o
    expect 0 "continue $1's checkpoint on $2" count --input text --output o --backend "$2" --slots 2 --managed 96m \
        --checkpoint-dir stop --restore latest
    same o text.expected "continue $1's checkpoint on $2"
done

# ---- damage
rm -rf job o
expect 0 "for damage" count --input text --output o --backend heap --managed 64m --checkpoint-dir job --checkpoint-every 20000 --retain 3 \
    --rate 400000
manifest=$(ls -d job/chk/*/MANIFEST | tail -1)
size=$(stat -c %s "$manifest")
printf '\001' | dd of="$manifest" bs=1 seek=$((size - 20)) conv=notrunc 2>/dev/null
expect 4 "check finds a flipped byte" "$CISTERN" checkpoint check job
says out "MANIFEST" "check names the file"
expect 0 "latest skips it" count --input text --output o --backend heap --managed 64m --checkpoint-dir job --restore latest
says err "SKIPPED" "latest says aloud that it skipped one"
same o text.expected "latest skips it"
mkdir flink && : >flink/_metadata
expect 13 "Flink's checkpoint" "$CISTERN" checkpoint show flink
says err "not read by this version" "Flink's checkpoint"
expect 10 "no such folder" "$CISTERN" checkpoint ls absent
expect 0 "bench" "$CISTERN" bench memory --json
says out '"case":"charge_uncharge"' bench

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 270 ]
