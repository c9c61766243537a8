#!/usr/bin/env bash
# crash_test.sh CISTERN [ROUNDS] -- kill -9 at random moments, restart with --restore latest, as often as it takes; the output must
# equal that of `sort | uniq -c`, on both backends, with one and two slots, also when the slot count changes in between.
set -u
CISTERN=$1 rounds=${2:-4}
source "$(dirname "$0")/lib.sh"
RANDOM=${CISTERN_SEED:-$((SECONDS + $$))}
echo "seed ${CISTERN_SEED:-$$}"
make_text "$scratch/text" 400000 60000 7
reference "$scratch/text" >"$scratch/expected"

# one ROUND BACKEND: the whole story of one job.
one() {
    local round=$1 backend=$2 dir=$scratch/$2-$1 restore=() kills=0 slots
    for attempt in $(seq 1 60); do
        slots=$((RANDOM % 2 + 1))
        "$CISTERN" run wordcount --input "$scratch/text" --output "$dir.out" --backend "$backend" --slots $slots \
            --managed 96m --checkpoint-dir "$dir" --checkpoint-every 20000 --rate 300000 --retain 2 \
            "${restore[@]}" >"$dir.log" 2>&1 &
        local pid=$!
        if [ $kills -lt 5 ]; then
            sleep 0.$((RANDOM % 9 + 1))
            if kill -9 $pid 2>/dev/null; then kills=$((kills + 1)); fi
        fi
        wait $pid 2>/dev/null
        local code=$?
        [ -d "$dir" ] && restore=(--restore latest)
        if [ $code -eq 0 ]; then
            cmp "$dir.out" "$scratch/expected" || fail "$backend round $round: the counts differ after $kills kills"
            "$CISTERN" checkpoint check "$dir" --read-data >"$dir.log" 2>&1 || { cat "$dir.log"; fail "$backend round $round: check"; }
            echo "$backend round $round: right after $kills kills, $attempt starts"
            return
        fi
        [ $code -eq 137 ] || { cat "$dir.log"; fail "$backend round $round: exit $code"; }
    done
    fail "$backend round $round: never finished"
}
for round in $(seq 1 "$rounds"); do
    one "$round" heap
    one "$round" rocks
    rm -rf "${scratch:?}"/heap-* "${scratch:?}"/rocks-*
done
echo "$((rounds * 2)) passed, 0 failed"
