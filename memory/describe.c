/* describe.c -- who holds what, as a picture in text: slots x components. */
#include "cistern/alloc.h"
#include "cistern/size.h"
#include "holders_private.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BAR_CELLS 24
#define LINE_BYTES 200
#define LINES_SPARE 8 /* components may open between counting and reading */

struct description {
    char *text;
    uint64_t capacity;
    uint64_t bytes;        /* of the whole text, without the line that is not ended yet */
    uint64_t written;      /* of it, in `text` */
    char line[LINE_BYTES]; /* the line that is not ended yet */
    uint32_t line_bytes;
};

static void add(struct description *description, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct description *description, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(description->line + description->line_bytes,
        LINE_BYTES - description->line_bytes, format, arguments);
    va_end(arguments);
    assert(bytes >= 0 && (uint32_t)bytes < LINE_BYTES - description->line_bytes);
    description->line_bytes += (uint32_t)bytes;
}

/* Into the text when all before it are there and it fits with the NUL. */
static void end_line(struct description *description)
{
    add(description, "\n");
    if (description->written == description->bytes &&
        description->bytes + description->line_bytes < description->capacity) {
        memcpy(description->text + description->bytes, description->line,
            description->line_bytes + UINT64_C(1));
        description->written += description->line_bytes;
    }
    description->bytes += description->line_bytes;
    description->line_bytes = 0;
}

static void bar_draw(char bar[BAR_CELLS + 1], uint64_t bytes, uint64_t whole)
{
    uint64_t cells = whole == 0 ? 0 : (bytes * BAR_CELLS + whole / 2) / whole;
    cells = cells > BAR_CELLS ? BAR_CELLS : cells;
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', cells);
    bar[BAR_CELLS] = '\0';
}

static void describe_holder(struct description *description, const struct cistern_holder *holder)
{
    char bar[BAR_CELLS + 1];
    char used[16];
    char peak[16];
    bar_draw(bar, holder->used_bytes, holder->limit_bytes + holder->lent_bytes);
    add(description, "  %-24s %10s  [%s]  peak %s", holder->component,
        cistern_size_format(used, holder->used_bytes), holder->limit_bytes == 0 ? "-" : bar,
        cistern_size_format(peak, holder->peak_bytes));
    if (holder->refusal_count > 0) {
        add(description, ", refused %llu times", (unsigned long long)holder->refusal_count);
    }
    end_line(description);
}

static void describe_slot(struct description *description, const struct cistern_slot *slot)
{
    char used[16];
    char limit[16];
    char part[16];
    add(description, "%s: %s of %s", slot->name,
        cistern_size_format(used, cistern_slot_used_bytes(slot)),
        cistern_size_format(limit, cistern_slot_limit_bytes(slot)));
    if (cistern_slot_loan_bytes(slot) > 0) {
        add(description, " + %s borrowed",
            cistern_size_format(part, cistern_slot_loan_bytes(slot)));
    }
    if (cistern_slot_lent_bytes(slot) > 0) {
        add(description, ", %s lent", cistern_size_format(part, cistern_slot_lent_bytes(slot)));
    }
    if (slot_debt(slot) > 0) {
        add(description, ", %s in debt", cistern_size_format(part, slot_debt(slot)));
    }
    end_line(description);
}

static const struct cistern_slot *slot_named(const struct cistern_pool *pool, const char *name)
{
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        if (strcmp(pool->slots[i].name, name) == 0) {
            return &pool->slots[i];
        }
    }
    return NULL;
}

/* The lines of one slot stand together; those from `beside` on are no slot's (holders.c). */
static void describe_holders(struct description *description, const struct cistern_pool *pool,
    const struct cistern_holder *holders, uint32_t count, uint32_t beside)
{
    const char *slot = "";
    for (uint32_t i = 0; i < count; i++) {
        const struct cistern_slot *named = i < beside ? slot_named(pool, holders[i].slot) : NULL;
        if (named != NULL && strcmp(slot, holders[i].slot) != 0) {
            slot = holders[i].slot;
            describe_slot(description, named);
        } else if (i == beside) {
            add(description, "beside the slots:");
            end_line(description);
        }
        describe_holder(description, &holders[i]);
    }
}

uint64_t cistern_pool_describe(struct cistern_pool *pool, char *text, uint64_t capacity)
{
    assert(pool != NULL && (text != NULL || capacity == 0));
    struct description description = {.text = text, .capacity = capacity};
    char charged[16];
    char budget[16];
    uint32_t count = 0;
    if (capacity > 0) {
        text[0] = '\0';
    }
    add(&description, "budget %s, charged %s", cistern_size_format(budget, pool->budget_bytes),
        cistern_size_format(charged, ledger_charged(pool)));
    end_line(&description);
    (void)!cistern_pool_holders(pool, NULL, 0, &count);
    uint32_t holder_capacity = count + LINES_SPARE;
    struct cistern_holder *holders = cistern_allocate_zeroed(holder_capacity, sizeof *holders);
    if (holders == NULL) {
        add(&description, "no memory to list the holders");
        end_line(&description);
        return description.bytes;
    }
    (void)!cistern_pool_holders(pool, holders, holder_capacity, &count);
    uint32_t beside =
        pool->accounting == CISTERN_ACCOUNTING_OWNED ? count - HOLDERS_BESIDE_COUNT : count;
    describe_holders(
        &description, pool, holders, count < holder_capacity ? count : holder_capacity, beside);
    cistern_release(holders);
    return description.bytes;
}
