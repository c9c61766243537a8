#!/usr/bin/env bash
# java_host_test.sh LIBRARY -- compiles the JVM host and runs it; where there is no JDK, says so and exits 77.
set -euo pipefail
library=$1 here=$(cd "$(dirname "$0")" && pwd)
javac=$(command -v javac) || { echo "SKIPPED: no javac on this machine (apt-get install default-jdk-headless)"; exit 77; }
java_home=$(dirname "$(dirname "$(readlink -f "$javac")")")
[ -f "$java_home/include/jni.h" ] || { echo "SKIPPED: no jni.h under $java_home/include"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/1" "$work/2" "$work/classes"
javac -d "$work/classes" "$here/GuestHost.java"
gcc -shared -fPIC -Wall -Wextra -Werror -I"$here" -I"$java_home/include" -I"$java_home/include/linux" \
    -o "$work/libguest_jni.so" "$here/guest_jni.c" "$library" -Wl,-rpath,"$(dirname "$library")"
java -Xmx1g -cp "$work/classes" GuestHost "$work/libguest_jni.so" "$work"
