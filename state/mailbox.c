/*
 * mailbox.c -- see cistern/mailbox.h.
 *
 * Records hang off their key in the order of arrival; keys are found by a table of twice as many
 * places as there may be records. A flush goes through the keys in the order of their first record.
 */
#include "cistern/mailbox.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "cistern/keys.h"

#include <string.h>

#define RECORDS_DEFAULT 256u
#define BYTES_DEFAULT ((uint64_t)256 << 10)
#define STATES_MAX 64u
#define AHEAD 16u /* keys whose state is on its way */
#define NONE UINT32_MAX

struct mail {
    struct cistern_span bytes;
    uint32_t next; /* of the same key */
};
struct sender { /* a key with records that wait */
    struct cistern_address address;
    uint64_t hash;
    uint32_t first;
    uint32_t last;
    uint32_t count;
};
struct cistern_mailbox {
    struct cistern_mailbox_options options;
    struct cistern_state *states[STATES_MAX];
    struct mail *mails;
    struct sender *senders;
    struct cistern_span *records; /* what process is given */
    struct cistern_address *addresses;
    uint32_t *table; /* sender numbers; NONE = free */
    uint8_t *bytes;
    uint64_t bytes_used;
    uint32_t table_mask;
    uint32_t mail_count;
    uint32_t sender_count;
    uint32_t sender_done; /* handled by a flush that did not get further */
    uint32_t waiting;
};

static uint32_t options_check(struct cistern_mailbox_options *options, struct cistern_error *error)
{
    if (options->process == NULL) {
        return cistern_fail(error, CISTERN_INVALID, "mailbox", "process is required");
    }
    if (options->record_count_max > CISTERN_BATCH_COUNT_MAX || options->state_count > STATES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "mailbox",
            "record_count_max is at most %u and state_count at most %u, not %u and %u",
            CISTERN_BATCH_COUNT_MAX, STATES_MAX, options->record_count_max, options->state_count);
    }
    if (options->record_count_max == 0) {
        options->record_count_max = RECORDS_DEFAULT;
    }
    if (options->bytes_max == 0) {
        options->bytes_max = BYTES_DEFAULT;
    }
    return CISTERN_OK;
}

static void mailbox_reset(struct cistern_mailbox *mailbox)
{
    memset(mailbox->table, 0xff, (mailbox->table_mask + 1ULL) * sizeof *mailbox->table);
    mailbox->bytes_used = 0;
    mailbox->mail_count = 0;
    mailbox->sender_count = 0;
    mailbox->sender_done = 0;
    mailbox->waiting = 0;
}

uint32_t cistern_mailbox_create_sized(const struct cistern_mailbox_options *options,
    uint64_t options_bytes, struct cistern_mailbox **ret_mailbox, struct cistern_error *error)
{
    struct cistern_mailbox_options known = {0};
    uint32_t status = cistern_options_read(
        &known, sizeof known, options, options_bytes, "mailbox options", error);
    status = status == CISTERN_OK ? options_check(&known, error) : status;
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_mailbox *mailbox = cistern_allocate_zeroed(1, sizeof *mailbox);
    if (mailbox == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "mailbox", "no memory for a mailbox");
    }
    uint32_t records = known.record_count_max;
    mailbox->options = known;
    if (known.state_count != 0) {
        memcpy(mailbox->states, known.states, known.state_count * sizeof *known.states);
    }
    mailbox->table_mask = (2u << (32 - __builtin_clz(records))) - 1;
    mailbox->mails = cistern_allocate_zeroed(records, sizeof *mailbox->mails);
    mailbox->senders = cistern_allocate_zeroed(records, sizeof *mailbox->senders);
    mailbox->records = cistern_allocate_zeroed(records, sizeof *mailbox->records);
    mailbox->addresses = cistern_allocate_zeroed(AHEAD, sizeof *mailbox->addresses);
    mailbox->table = cistern_allocate_zeroed(mailbox->table_mask + 1ULL, sizeof *mailbox->table);
    mailbox->bytes = cistern_allocate(known.bytes_max);
    if (mailbox->mails == NULL || mailbox->senders == NULL || mailbox->records == NULL ||
        mailbox->addresses == NULL || mailbox->table == NULL || mailbox->bytes == NULL) {
        cistern_mailbox_destroy(mailbox);
        return cistern_fail(error, CISTERN_NO_MEMORY, "mailbox",
            "no memory for %u records of %llu bytes together", records,
            (unsigned long long)known.bytes_max);
    }
    mailbox_reset(mailbox);
    *ret_mailbox = mailbox;
    return CISTERN_OK;
}

void cistern_mailbox_destroy(struct cistern_mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    cistern_release(mailbox->mails);
    cistern_release(mailbox->senders);
    cistern_release(mailbox->records);
    cistern_release(mailbox->addresses);
    cistern_release(mailbox->table);
    cistern_release(mailbox->bytes);
    cistern_release(mailbox);
}

uint32_t cistern_mailbox_waiting(const struct cistern_mailbox *mailbox)
{
    return mailbox->waiting;
}

/* Empty spans get a place, too: data NULL means absent. */
static struct cistern_span keep(struct cistern_mailbox *mailbox, struct cistern_span span)
{
    uint8_t *copy = mailbox->bytes + mailbox->bytes_used;
    if (span.bytes != 0) {
        memcpy(copy, span.data, span.bytes);
    }
    mailbox->bytes_used += span.bytes;
    return (struct cistern_span){copy, span.bytes};
}

static struct sender *sender_of(
    struct cistern_mailbox *mailbox, struct cistern_span key, uint32_t key_group)
{
    uint64_t hash = cistern_hash64_seeded(key.data, key.bytes, 0);
    uint32_t place = (uint32_t)hash & mailbox->table_mask;
    for (; mailbox->table[place] != NONE; place = (place + 1) & mailbox->table_mask) {
        struct sender *sender = &mailbox->senders[mailbox->table[place]];
        if (sender->hash == hash && sender->address.key.bytes == key.bytes &&
            memcmp(sender->address.key.data, key.data, key.bytes) == 0) {
            return sender;
        }
    }
    mailbox->table[place] = mailbox->sender_count;
    struct sender *sender = &mailbox->senders[mailbox->sender_count++];
    *sender = (struct sender){
        .address = {.key = keep(mailbox, key), .key_group = key_group},
        .hash = hash,
        .first = NONE,
    };
    return sender;
}

static int has_room(const struct cistern_mailbox *mailbox, uint64_t bytes)
{
    /* handled keys are still in the table until a flush has come to its end */
    return mailbox->sender_done == 0 && mailbox->mail_count < mailbox->options.record_count_max &&
           bytes <= mailbox->options.bytes_max - mailbox->bytes_used;
}

uint32_t cistern_mailbox_add(struct cistern_mailbox *mailbox, struct cistern_span key,
    uint32_t key_group, struct cistern_span record, struct cistern_error *error)
{
    if (key.data == NULL || record.data == NULL) {
        return cistern_fail(error, CISTERN_INVALID, "mailbox", "no %s is given",
            key.data == NULL ? "key" : "record");
    }
    uint64_t bytes = key.bytes + record.bytes;
    if (!has_room(mailbox, bytes)) {
        uint32_t status = cistern_mailbox_flush(mailbox, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    if (bytes > mailbox->options.bytes_max) {
        struct cistern_address address = {.key = key, .key_group = key_group};
        return mailbox->options.process(mailbox->options.arg, &address, &record, 1, error);
    }
    struct sender *sender = sender_of(mailbox, key, key_group);
    uint32_t number = mailbox->mail_count++;
    mailbox->mails[number] = (struct mail){.bytes = keep(mailbox, record), .next = NONE};
    if (sender->first == NONE) {
        sender->first = number;
    } else {
        mailbox->mails[sender->last].next = number;
    }
    sender->last = number;
    sender->count++;
    mailbox->waiting++;
    return CISTERN_OK;
}

static void look_ahead(struct cistern_mailbox *mailbox, uint32_t from)
{
    uint32_t left = mailbox->sender_count - from;
    uint32_t count = left < AHEAD ? left : AHEAD;
    for (uint32_t i = 0; i < count; i++) {
        mailbox->addresses[i] = mailbox->senders[from + i].address;
    }
    for (uint32_t i = 0; i < mailbox->options.state_count; i++) {
        cistern_state_prefetch(mailbox->states[i], mailbox->addresses, count);
    }
}

uint32_t cistern_mailbox_flush(struct cistern_mailbox *mailbox, struct cistern_error *error)
{
    uint32_t ahead = mailbox->sender_done;
    for (; mailbox->sender_done < mailbox->sender_count; mailbox->sender_done++) {
        if (mailbox->sender_done == ahead) {
            look_ahead(mailbox, ahead);
            ahead += AHEAD;
        }
        const struct sender *sender = &mailbox->senders[mailbox->sender_done];
        uint32_t count = 0;
        for (uint32_t i = sender->first; i != NONE; i = mailbox->mails[i].next) {
            mailbox->records[count++] = mailbox->mails[i].bytes;
        }
        uint32_t status = mailbox->options.process(
            mailbox->options.arg, &sender->address, mailbox->records, count, error);
        if (status != CISTERN_OK) {
            return status;
        }
        mailbox->waiting -= count;
    }
    mailbox_reset(mailbox);
    return CISTERN_OK;
}
