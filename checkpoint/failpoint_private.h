/*
 * failpoint_private.h -- named places where a test stops or kills the process:
 * CISTERN_FAILPOINT=name:action[:n].
 *
 * action `stop` raises SIGSTOP, `kill` raises SIGKILL, at the n-th time (1) the place is reached.
 * The variable is read once. Without it a failpoint is one relaxed load. Threads: any.
 */
#ifndef CISTERN_CHECKPOINT_FAILPOINT_H
#define CISTERN_CHECKPOINT_FAILPOINT_H

void failpoint(const char *name);

#endif
