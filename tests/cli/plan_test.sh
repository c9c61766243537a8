#!/usr/bin/env bash
# plan_test.sh CISTERN -- `cistern plan`: Flink's vectors (numbers and messages), configuration files, slots, exit codes.
set -u
here=$(cd "$(dirname "$0")" && pwd)
CISTERN=$(realpath "$1")
export LC_ALL=C
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cistern-plan-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
passed=0 failed=0

fail() { echo "FAIL: $*"; [ -s err ] && sed 's/^/  | /' err; failed=$((failed + 1)); }
ok() { passed=$((passed + 1)); }
expect() { # expect CODE WHAT COMMAND...: stdout in `out`, stderr in `err`
    local code=$1 what=$2
    shift 2
    "$@" >out 2>err </dev/null
    local got=$?
    if [ $got -eq "$code" ]; then ok; else fail "$what: exit $got, expected $code"; fi
}
says() { # says FILE TEXT WHAT
    if grep -qF -- "$2" "$1"; then ok; else fail "$3: \"$2\" is not in $1"; fi
}
silent() { if [ -s "$1" ]; then fail "$2: $1 is not empty"; else ok; fi; }
plan() { "$CISTERN" plan "$@"; }
# number FIELD: a field at the top of the JSON document in `out`
number() { sed -n "s/^  \"$1\": \([0-9]*\),*\$/\1/p" out; }
is() { # is FIELD VALUE WHAT
    local got
    got=$(number "$1")
    if [ "$got" = "$2" ]; then ok; else fail "$3: $1 is $got, expected $2"; fi
}

# ---- the vectors: a row with 13 columns starts, one with 4 is refused with the words of its last column
defines() { # "a=1 b=2" as -D options; the prefix is left out in the table
    args=()
    [ "$1" = "(nothing configured)" ] && return
    for define in $1; do args+=(-D "taskmanager.memory.$define"); done
}
rows=0
while IFS=$'\t' read -r id _ input rest; do
    case $id in id | \#*) continue ;; esac
    rows=$((rows + 1))
    defines "$input"
    case $id in
    [PFT]*)
        expect 0 "$id" plan --json ${args[@]+"${args[@]}"}
        set -- process flink jvm_metaspace jvm_overhead framework_heap framework_off_heap task_heap task_off_heap network managed \
            jvm_xmx jvm_max_direct
        for value in $rest; do
            is "$1_bytes" "$value" "$id"
            shift
        done
        [ $# -eq 0 ] && ok || fail "$id: columns are missing: $*"
        ;;
    E*)
        expect 2 "$id" plan --json ${args[@]+"${args[@]}"}
        silent out "$id"
        says err "${rest%%:*}" "$id: the exception's name"
        # causes stand behind " <- "; "(..)" stands for an option's own text
        parts=${rest#*: }
        while [ -n "$parts" ]; do
            part=${parts%% <- *}
            [ "$part" = "$parts" ] && parts= || parts=${parts#* <- }
            while [ -n "$part" ]; do
                piece=${part%%(..)*}
                [ "$piece" = "$part" ] && part= || part=${part#*(..)}
                says err "$piece" "$id: its message"
            done
        done
        ;;
    *) fail "a row of no kind: $id" ;;
    esac
done <"$here/../data/flink-memory-vectors.tsv"
[ $rows -ge 30 ] && ok || fail "only $rows vectors were read"

# ---- the names scripts rely on
F=taskmanager.memory
expect 0 fields plan --json -D $F.process.size=4g -D taskmanager.numberOfTaskSlots=2 -D taskmanager.cpu.cores=1.5
for field in process flink jvm_metaspace jvm_overhead framework_heap framework_off_heap task_heap task_off_heap network managed jvm_xmx \
    jvm_max_direct; do
    [ -n "$(number "${field}_bytes")" ] && ok || fail "field ${field}_bytes"
done
for text in '"slots": [' '"index": 1' '"managed_bytes": 719407031' '"consumers": {' '"STATE_BACKEND": {' '"fraction": 0.4117647058823529' \
    '"bytes": 296226424' '"rocksdb": {' '"cache_bytes": 246855353' '"write_buffer_manager_bytes": 98742141' \
    '"arena_block_bytes": 8388608' '"high_priority_pool_ratio": 0.1' '"cpu_cores": 0.75'; do
    says out "$text" "JSON"
done
silent err "a plan without a flaw says nothing on stderr"
[ "$(grep -c '"index":' out)" -eq 2 ] && ok || fail "two slots"
# a job with keyed state alone: the whole slot is the state backend's
expect 0 alone plan --json -D $F.process.size=1728m --consumers STATE_BACKEND
for text in '"bytes": 536870920' '"fraction": 1.0' '"cache_bytes": 447392433' '"write_buffer_manager_bytes": 178956973'; do
    says out "$text" "STATE_BACKEND alone"
done
expect 2 "no consumer" plan -D $F.process.size=1728m --consumers STATE
says err '"STATE" is not one of OPERATOR, STATE_BACKEND, PYTHON' "no consumer"
expect 0 weights plan --json -D $F.process.size=1728m -D $F.managed.consumer-weights=STATE_BACKEND:70,PYTHON:30
says out '"bytes": 375809644' weights
if grep -q OPERATOR out; then fail "a consumer without weight is listed"; else ok; fi

# ---- for people
expect 0 text plan -D $F.process.size=1728m
for text in "Total process memory                1.7 GiB      1,811,939,328 |########################################|" \
    "      Task heap                   384.0 MiB        402,653,174 |...#########............................|" \
    "JVM: -Xmx536870902 -Xms536870902 -XX:MaxDirectMemorySize=268435458 -XX:MaxMetaspaceSize=268435456"; do
    says out "$text" picture
done
expect 0 explain plan -D $F.process.size=1728m --explain
says out "536870920 = 1342177280 x 0.4000000059604645 = 536870920" explain
says out "181193935, raised to the min" explain
expect 0 "explain in JSON" plan -D $F.process.size=1728m --explain --json
says out '"managed_bytes": "1342177280 x 0.4000000059604645 = 536870920"' "explain in JSON"
expect 0 help plan --help
says out "usage: cistern plan [OPTIONS]" help

# ---- files
mkdir conf older both empty
printf 'taskmanager:\n  memory:\n    process:\n      size: 1728m\n  numberOfTaskSlots: 4\n' >conf/config.yaml
printf 'taskmanager.memory.process.size: 1728m # as shipped\ntaskmanager.numberOfTaskSlots: 4\njobmanager.rpc.address: localhost\n' >older/flink-conf.yaml
cp older/flink-conf.yaml both/ && echo 'taskmanager.memory.process.size: 1g' >both/config.yaml
expect 0 "nested" plan --json --config conf && mv out nested
for path in conf/config.yaml older older/flink-conf.yaml both; do
    expect 0 "$path" plan --json --config $path
    silent err "$path"
    if cmp -s out nested; then ok; else fail "$path gives another plan"; fi
done
expect 0 "-D wins over the file" plan --json --config conf -D $F.process.size=1g -D taskmanager.numberOfTaskSlots=4
is process_bytes 1073741824 "-D wins over the file"
expect 10 "no such file" plan --config missing
expect 10 "an empty directory" plan --config empty
says err "neither config.yaml nor flink-conf.yaml is in this directory" "an empty directory"
printf 'a: 1\nb: [\n' >broken.yaml
expect 2 "no YAML" plan --config broken.yaml
says err "broken.yaml:3: not YAML" "no YAML"
printf 'taskmanager.memory.process.size: 1728m\ntaskmanager.memory.network.fraction: 0.1x\n' >typo.yaml
expect 2 "a bad value" plan --config typo.yaml
says err "Could not parse value '0.1x' for key 'taskmanager.memory.network.fraction'." "a bad value"
says err "typo.yaml:2: taskmanager.memory.network.fraction: 0.1x" "a bad value's place"
printf 'taskmanager.memory.process.size: 1728m\ntaskmanager.memory.manged.size: 1g\ntaskmanager.memory.size: 100m\n' >keys.yaml
expect 0 "unknown and deprecated keys" plan --json --config keys.yaml
is managed_bytes 104857600 "a deprecated key counts"
says err "keys.yaml:2: unknown key taskmanager.memory.manged.size, which Flink ignores; did you mean taskmanager.memory.managed.size?" keys
says err "keys.yaml:3: taskmanager.memory.size is deprecated; its name today is taskmanager.memory.managed.size" keys
expect 2 "an unknown key by hand" plan -D $F.procces.size=1g
says err "did you mean taskmanager.memory.process.size?" "an unknown key by hand"
expect 0 "foreign keys are not ours to judge" plan -D $F.process.size=1728m -D jobmanager.memory.process.size=1g -D my.own=1
silent err "foreign keys"
expect 2 "no value" plan -D $F.process.size
expect 2 "nothing" plan --explain

# ---- what would start and then disappoint
expect 0 "a small slot" plan --json -D $F.process.size=1728m -D taskmanager.numberOfTaskSlots=32
says err "RocksDB flushes memtables constantly" "a small slot"
says out '"flushes_constantly": true' "a small slot"
expect 0 "no managed memory" plan --json -D $F.process.size=1728m -D $F.managed.size=0
says err "limits nothing" "no managed memory"
expect 0 "unbounded" plan --json -D $F.process.size=1728m -D state.backend.rocksdb.memory.managed=false
says err "nothing bounds their sum" unbounded
expect 2 "ratios" plan -D $F.process.size=1728m -D state.backend.rocksdb.memory.write-buffer-ratio=0.95
says err "Invalid configuration: writeBufferRatio 0.95 with highPriPoolRatio 0.1" ratios

# ---- slots made to measure
worker=(-D $F.task.heap.size=2g -D $F.managed.size=2g -D taskmanager.cpu.cores=1 -D taskmanager.numberOfTaskSlots=2)
quarter=cpu=0.25,task-heap=512m,managed=512m
expect 0 "slots to measure" plan --json "${worker[@]}" --slot $quarter --slot $quarter --slot default
[ "$(grep -c '"is_dynamic": true' out)" -eq 3 ] && ok || fail "three dynamic slots"
says out '"index": 4' "slots to measure"
sed -n '/"available": {/,/}/p' out >left
says left '"managed_bytes": 0' "the worker is full"
says left '"cpu_cores": 0.0' "the worker is full"
expect 5 "one too many" plan "${worker[@]}" --slot $quarter --slot $quarter --slot default --slot cpu=0.1,task-heap=1
says err "Cannot allocate the requested resources: CPU cores is used up" "one too many"
expect 2 "no heap" plan "${worker[@]}" --slot cpu=1
says err "The cpu cores and task heap memory are required" "no heap"
expect 2 "no such part" plan "${worker[@]}" --slot cpu=1,heap=2m
says err 'unknown part "heap"' "no such part"
expect 2 "a bad size" plan "${worker[@]}" --slot cpu=1,task-heap=2q
says err 'unknown unit "q"' "a bad size"

echo "plan_test: $passed passed, $failed failed"
[ $failed -eq 0 ]
