#!/usr/bin/env bash
# demo.sh CISTERN -- the main job, told so that a newcomer sees what it is for: counts the words of text that is on every Debian
# machine, on both backends under one small budget; kills itself with -9 in the middle, twice; restores; compares with
# `sort | uniq -c`. Leaves nothing behind but build/demo. Exits non-zero when a single byte differs.
set -euo pipefail
CISTERN=$(realpath "$1")
budget=${CISTERN_DEMO_BUDGET:-28m}
demo=build/demo
export LC_ALL=C
rm -rf "$demo" && mkdir -p "$demo" && cd "$demo"

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || bold() { printf '\n%s\n' "$*"; }

inputs=()
for folder in /usr/share/common-licenses /usr/include/c++ /usr/include/rocksdb /usr/include/linux \
              /usr/include/x86_64-linux-gnu; do
    [ -e "$folder" ] && inputs+=(--input "$folder")
done

# bar VALUE LIMIT: 20 columns, '#' to scale; '!' would mean beyond the limit.
bar() {
    local width=$(($1 * 20 / $2)) text
    printf -v text '%*s' $((width < 20 ? width : 20)) ''
    printf '%-20s' "${text// /#}"
    if [ $width -gt 20 ]; then printf '!'; else printf '|'; fi
}

# watch PID FILE KILL_AT: a line for each new metrics line; kills -9 when so many records were counted (0 = never).
watch() {
    local pid=$1 file=$2 kill_at=$3 seen=0 lines line
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        lines=$(wc -l <"$file" 2>/dev/null || echo 0)
        [ "$lines" -gt $seen ] || continue
        seen=$lines
        line=$(tail -n 1 "$file")
        [[ $line =~ \"records\":([0-9]+) ]] && records=${BASH_REMATCH[1]}
        [[ $line =~ \"managed_bytes\":([0-9]+) ]] && managed=${BASH_REMATCH[1]}
        [[ $line =~ \"charged_bytes\":([0-9]+) ]] && charged=${BASH_REMATCH[1]}
        [[ $line =~ \"rss_growth_bytes\":([0-9]+) ]] && growth=${BASH_REMATCH[1]}
        [[ $line =~ \"checkpoints\":([0-9]+) ]] && checkpoints=${BASH_REMATCH[1]}
        printf '  %9d words  charged %5.1f MiB %s resident %5.1f MiB %s %d checkpoints\n' "$records" \
            "$(mib "$charged")" "$(bar "$charged" "$managed")" "$(mib "$growth")" "$(bar "$growth" "$managed")" "$checkpoints"
        if [ "$kill_at" -gt 0 ] && [ "$records" -ge "$kill_at" ] && [ "$checkpoints" -gt 0 ]; then
            kill -9 "$pid" && printf '  kill -9 %d: no goodbye\n' "$pid"
            break
        fi
    done
    wait "$pid" 2>/dev/null && return 0 || return $?
}
mib() { printf '%d.%d' $(($1 / 1048576)) $(($1 % 1048576 * 10 / 1048576)); }

# run BACKEND RATE KILL_AT [OPTIONS...]
run() {
    local backend=$1 rate=$2 kill_at=$3
    shift 3
    rm -f "$backend.metrics"
    "$CISTERN" run wordcount "${inputs[@]}" --output "$backend.tsv" --backend "$backend" --managed "$budget" \
        --checkpoint-dir "$backend" --checkpoint-every 200000 --retain 2 --rate "$rate" \
        --metrics "$backend.metrics" --metrics-interval 400ms --report "$backend.json" "$@" &
    watch $! "$backend.metrics" "$kill_at"
}

bold "1. The text, and what the answer must be (sort | uniq -c)"
find -L $(printf '%s\n' "${inputs[@]}" | grep -v '^--input$') -type f -print0 | sort -z | xargs -0 awk 1 |
    tr -s ' \t\r\f\v' '\n' | grep -av '^$' | sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)$/\2\t\1/' | sort >expected.tsv
words=$(awk -F'\t' '{n += $NF} END {print n}' expected.tsv)
printf '  %d words, %d of them distinct\n' "$words" "$(wc -l <expected.tsv)"

step=1
for backend in heap rocks; do
    step=$((step + 1))
    [ $backend = heap ] && rate=700000 || rate=400000
    bold "$step. $backend: counted under a budget of $budget, killed in the middle, restored, killed, restored"
    run $backend $rate $((words / 4)) || true
    run $backend $rate $((words / 2)) --restore latest || true
    run $backend $rate 0 --restore latest
    cmp $backend.tsv expected.tsv
    printf '  the output equals sort | uniq -c, byte for byte\n'
    "$CISTERN" checkpoint ls $backend | sed 's/^/  /'
    "$CISTERN" checkpoint check $backend --read-data | sed 's/^/  /'
done

bold "4. The budget as a fact"
for backend in heap rocks; do
    number() { grep -m1 "\"$1\"" $backend.json | tr -dc '0-9'; }
    growth=$(($(number rss_peak_bytes) - $(number rss_baseline_bytes)))
    managed=$(number managed_bytes)
    printf '  %-5s peak resident growth %s MiB of %s MiB (%d %%)\n' $backend "$(mib $growth)" "$(mib "$managed")" \
        $((growth * 100 / managed))
    [ $growth -le $((managed + 2097152)) ] || { echo "  beyond the budget + 2 MiB"; exit 1; }
done
printf '\nEverything is in %s. Look at a checkpoint: %s checkpoint show %s/heap/chk/*\n' "$demo" \
    "build/release/bin/cistern" "$demo"
