#!/usr/bin/env bash
# soak.sh BUILD SECONDS -- the model tests with a fresh seed each time, until the time is up. A failing seed is printed.
set -u
build=$1 seconds=$2 rounds=0
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    seed=$(od -An -N7 -tu8 /dev/urandom | tr -d ' ')
    for test in model_heap_test model_kinds_heap_test model_rocks_test model_kinds_rocks_test; do
        if ! CISTERN_SEED=$seed "$build/tests/$test" >"$build/soak.log" 2>&1; then
            cat "$build/soak.log"
            echo "failed: CISTERN_SEED=$seed $build/tests/$test"
            exit 1
        fi
    done
    rounds=$((rounds + 1))
    printf '\rsoak: %d rounds, %d s left ' $rounds $((end - SECONDS))
done
printf '\nsoak: %d rounds passed\n' $rounds
