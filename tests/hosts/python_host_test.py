#!/usr/bin/env python3
"""A Python process as the host: loads without a preload, keeps its subprocesses, gives the bytes back.

   python_host_test.py LIBRARY
"""
import ctypes
import shutil
import subprocess
import sys
import tempfile

MIB = 1 << 20


def anonymous_bytes():
    total = 0
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) << 10
    return total


def call(guest, name, *arguments):
    function = getattr(guest, name)
    function.restype = ctypes.c_char_p
    text = function(*arguments)
    if text is not None:
        sys.exit(f"{name}: {text.decode()}")


def live(guest, seed, before):
    directory = tempfile.mkdtemp(prefix="cistern-host-")
    budget = guest.guest_budget_bytes()
    call(guest, "guest_open", directory.encode())
    guest.guest_modes.restype = ctypes.c_char_p
    modes = guest.guest_modes().decode()
    if modes != "allocator=own accounting=guest":
        sys.exit(f"modes: {modes}")
    call(guest, "guest_load", seed)
    held = anonymous_bytes() - before
    subprocess.run(["true"], check=True)
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    call(guest, "guest_check", seed)
    grown = anonymous_bytes() - before
    print(f"life {seed}: anonymous growth {held / MIB:.1f} MiB, {grown / MIB:.1f} MiB after subprocesses, "
          f"budget {budget / MIB:.1f} MiB")
    if grown > budget + budget // 8:
        sys.exit("more than the budget and an eighth")
    call(guest, "guest_close")
    shutil.rmtree(directory, ignore_errors=True)


def main():
    guest = ctypes.CDLL(sys.argv[1])
    for name in ("guest_budget_bytes", "guest_charged_bytes", "guest_cache_bytes"):
        getattr(guest, name).restype = ctypes.c_uint64
    before = anonymous_bytes()
    for seed in (1, 2):
        live(guest, seed, before)
    kept = anonymous_bytes() - before
    print(f"after close: {kept / MIB:.1f} MiB more than before")
    if kept > 8 * MIB:
        sys.exit("bytes did not come back")


main()
