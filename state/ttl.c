/* ttl.c -- when a value is too old to be seen; see backend_ops.h. Source: TtlUtils.expired of
 * Apache Flink. */
#include "cistern/backend_ops.h"
#include "cistern/clock.h"

int cistern_ttl_expired(const struct cistern_ttl *ttl, int64_t written_ms, int64_t now_ms)
{
    int64_t time_to_live_ms = ttl->time_to_live_ms;
    if (time_to_live_ms == 0) {
        return 0;
    }
    if (ttl->event_time && written_ms == INT64_MIN) {
        return 0; /* written before there was any watermark */
    }
    /* The sum must not pass INT64_MAX; a written time <= 0 cannot make it. */
    if (written_ms > 0 && time_to_live_ms > INT64_MAX - written_ms) {
        time_to_live_ms = INT64_MAX - written_ms;
    }
    return written_ms + time_to_live_ms <= now_ms;
}

int64_t cistern_state_now_ms(const struct cistern_state *state)
{
    return state->descriptor.ttl.event_time ? state->backend->watermark_ms : cistern_wall_ms();
}
