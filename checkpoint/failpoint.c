/* failpoint.c -- see failpoint_private.h. */
#include "failpoint_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAILPOINT_NAME_BYTES_MAX 63u

static char armed_name[FAILPOINT_NAME_BYTES_MAX + 1]; /* written once under `once` */
static int armed_signal;
static _Atomic uint32_t hits_left;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void environment_read(void)
{
    const char *text = getenv("CISTERN_FAILPOINT");
    if (text == NULL) {
        return;
    }
    size_t name_bytes = strcspn(text, ":");
    if (name_bytes > FAILPOINT_NAME_BYTES_MAX || text[name_bytes] != ':') {
        return;
    }
    const char *action = text + name_bytes + 1;
    armed_signal = strncmp(action, "stop", 4) == 0   ? SIGSTOP
                   : strncmp(action, "kill", 4) == 0 ? SIGKILL
                                                     : 0;
    const char *count = strchr(action, ':');
    atomic_store(&hits_left, count != NULL ? (uint32_t)strtoul(count + 1, NULL, 10) : 1u);
    memcpy(armed_name, text, name_bytes);
}

void failpoint(const char *name)
{
    pthread_once(&once, environment_read);
    if (armed_signal != 0 && strcmp(name, armed_name) == 0 && atomic_load(&hits_left) > 0 &&
        atomic_fetch_sub(&hits_left, 1) == 1) {
        raise(armed_signal);
    }
}
