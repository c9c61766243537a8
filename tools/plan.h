/*
 * plan.h -- one plan: what a configuration comes to, before anything is started. plan_command.c
 * makes it, plan_json.c, plan_text.c and plan_explain.c show it.
 *
 * Threads: main only.
 */
#ifndef CISTERN_PLAN_H
#define CISTERN_PLAN_H

#include "conf.h"
#include "option.h"

#include <jansson.h>

#define PLAN_FORMULA_BYTES 640u
#define PLAN_CONSUMERS_ALL ((1u << CISTERN_PROCESS_CONSUMER_COUNT) - 1)

struct plan_settings {
    struct option_settings base;
    struct option_list defines;
    struct option_list slots;
    const char *config;
    const char *consumers;
    uint32_t json;
    uint32_t explain;
};
struct plan {
    struct conf conf;
    struct cistern_process_spec spec;
    struct cistern_process_worker worker; /* what the slots below leave */
    struct cistern_process_slot *slots;
    uint32_t slot_count;
    uint32_t present; /* bit per consumer */
    uint32_t is_fine_grained;
    json_t *warnings; /* array of strings */
};
/* The name of a component, as a JSON field without "_bytes" and as people write it. */
struct plan_name {
    const char *field;
    const char *words;
};
extern const struct plan_name plan_names[CISTERN_PROCESS_COMPONENT_COUNT];
const char *plan_scope_name(uint32_t scope); /* "managed" */

/* plan_slots.c. LIMIT: a request does not fit what is left; INVALID: it makes no sense. */
CISTERN_MUST_USE uint32_t plan_slots_open(
    struct plan *plan, const struct plan_settings *settings, struct cistern_error *error);
/* "STATE_BACKEND,PYTHON" */
CISTERN_MUST_USE uint32_t plan_consumers_parse(
    const char *text, uint32_t *ret_present, struct cistern_error *error);

/* plan_keys.c. Warns of deprecated keys and of keys that are nearly ours; -D with such a key is
 * INVALID. */
CISTERN_MUST_USE uint32_t plan_keys_check(const struct plan *plan, struct cistern_error *error);

/* plan_advice.c. What starts, but not as one would wish: fills plan->warnings. */
void plan_warnings_collect(struct plan *plan);

/* plan_explain.c: "536870920 = 1342177280 x 0.4000000059604645, cut off". Returns text. */
const char *plan_formula(
    const struct cistern_process_spec *spec, uint32_t component, char text[PLAN_FORMULA_BYTES]);
void plan_print_explanation(const struct plan *plan);

void plan_print_text(const struct plan *plan);
/* 0 = written */
int plan_print_json(const struct plan *plan, int explain);

#endif
