/* status.c -- the one table of outcomes, and the version. */
#include "cistern/base.h"

#include <assert.h>

static const struct {
    const char *name;
    const char *advice;
} status_table[] = {
    [CISTERN_OK] = {"OK", "nothing to do"},
    [CISTERN_NOT_FOUND] = {"NOT_FOUND",
        "check the name; list what is there with `cistern checkpoint ls`"},
    [CISTERN_EXISTS] = {"EXISTS", "choose another name, or continue from what is there"},
    [CISTERN_BUSY] = {"BUSY", "try again when the holder is done"},
    [CISTERN_LIMIT] = {"LIMIT", "raise the budget or the named limit, or hold less"},
    [CISTERN_TIMEOUT] = {"TIMEOUT", "try again with a later deadline"},
    [CISTERN_INVALID] = {"INVALID", "correct the request; the message says what would be accepted"},
    [CISTERN_CORRUPT] = {"CORRUPT",
        "restore an older checkpoint; check the disk that holds the file"},
    [CISTERN_IO] = {"IO", "look at the operating system's error; the operation can be repeated"},
    [CISTERN_NO_SPACE] = {"NO_SPACE",
        "free space or raise the quota; nothing published was touched"},
    [CISTERN_NO_MEMORY] = {"NO_MEMORY",
        "the host's allocator gave nothing; free memory and repeat"},
    [CISTERN_UNSUPPORTED] = {"UNSUPPORTED", "use a build that knows this format or option"},
    [CISTERN_FENCED] = {"FENCED", "another writer took over; stop, and commit nothing outside"},
    [CISTERN_ABORTED] = {"ABORTED", "the operation was cancelled; repeat it if it is still wanted"},
    [CISTERN_CLOSED] = {"CLOSED", "the object is closed; open it again"},
    [CISTERN_MISMATCH] = {"MISMATCH",
        "the two sides do not belong together; the message names the field"},
};
static_assert(
    sizeof status_table / sizeof status_table[0] == CISTERN_STATUS_COUNT, "a status lacks its row");

uint32_t cistern_abi_version(void)
{
    return CISTERN_ABI;
}

const char *cistern_version(void)
{
    return CISTERN_VERSION;
}

const char *cistern_status_name(uint32_t status)
{
    return status < CISTERN_STATUS_COUNT ? status_table[status].name : "?";
}

const char *cistern_status_advice(uint32_t status)
{
    return status < CISTERN_STATUS_COUNT ? status_table[status].advice
                                         : "this status is not known to this build";
}
