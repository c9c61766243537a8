/*
 * main.c -- the process: its allocator's settings, its signals, and the command tree.
 *
 * The settings are those under which resident memory is provably bounded (docs/MEMORY.md): few
 * arenas, no muzzy pages, no arena that appears later than the hooks, and freed ranges given back
 * in place.
 */
#include "command.h"
#include "complaint.h"

#include <signal.h>

const char *malloc_conf;
const char *malloc_conf =
    "narenas:4,dirty_decay_ms:100,muzzy_decay_ms:0,oversize_threshold:0,retain:false,thp:never";

int main(int argc, char **argv)
{
    /* a closed pipe is a failed write with a message, not a silent death */
    signal(SIGPIPE, SIG_IGN);
    const struct cistern_host host = {.log = complaint_log};
    if (cistern_host_install(&host) != CISTERN_OK) {
        complaint_note("the library's callbacks could not be installed");
        return EXIT_OPERATIONAL;
    }
    return command_main(argc, argv);
}
