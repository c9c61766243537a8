/* host_private.h -- the installed host's callbacks, for the files of base/ that call them. */
#ifndef CISTERN_HOST_PRIVATE_H
#define CISTERN_HOST_PRIVATE_H

#include "cistern/base.h"

/* Never NULL; every field that the host left out is NULL and means the default. Written once by
 * cistern_host_install() before other threads exist, read without a lock afterwards. */
const struct cistern_host *host_callbacks(void);

#endif
