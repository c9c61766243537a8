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

echo "plan_test: $passed passed, $failed failed"
[ $failed -eq 0 ]
