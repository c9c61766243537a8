# lib.sh -- what the crash tests share: a text of known words, the reference count, and a scratch folder that goes away.
# Sourced; CISTERN is the command under test.

scratch=$(mktemp -d "${TMPDIR:-/tmp}/cistern-crash-XXXXXX")
trap 'kill -CONT $(jobs -p) 2>/dev/null; kill -9 $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$scratch"' EXIT
export LC_ALL=C

fail() { echo "FAIL: $*"; exit 1; }

# make_text FILE WORDS DISTINCT SEED: words of many lengths, a tenth of them hot.
make_text() {
    awk -v n="$2" -v d="$3" -v s="$4" 'BEGIN {
        srand(s)
        for (i = 0; i < n; i++) {
            k = rand() < 0.1 ? int(rand() * 50) : int(rand() * d)
            printf "%s%s", substr("abcdefghijklmnopqrstuvwxyz", 1, k % 17) k, (i % 12 == 11 ? "\n" : (i % 5 ? " " : "\t"))
        }
        print ""
    }' >"$1"
}

# reference FILE...: what the output must be, byte for byte.
reference() {
    awk 1 "$@" | tr -s ' \t\r\f\v' '\n' | grep -v '^$' | sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)$/\2\t\1/' | sort
}
