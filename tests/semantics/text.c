/* text.c -- actions and expectations of the semantic suite in words; see world.h. */
#include "semantics/world.h"

#include "cistern/endian.h"

#include <string.h>

#define WORD_COUNT_MAX CISTERN_BATCH_COUNT_MAX
#define ENTRIES_PER_STEP 3u /* small: every walk crosses the border of a call */

static struct cistern_error error;

struct cistern_address at(const char *place)
{
    const char *cut = strchr(place, '@');
    struct cistern_address address = {
        .key = {place, cut != NULL ? (uint64_t)(cut - place) : strlen(place)}};
    if (cut != NULL) {
        address.name_space = (struct cistern_span){cut + 1, strlen(cut + 1)};
    }
    address.key_group = cistern_key_group_bytes(address.key, 128);
    return address;
}

struct cistern_span span_of(const char *text)
{
    return (struct cistern_span){text, strlen(text)};
}

/* ---- words in ---- */

struct words {
    struct cistern_span spans[WORD_COUNT_MAX]; /* "_" is a word of no bytes */
    uint32_t count;
};

static void words_split(struct words *words, const char *text)
{
    words->count = 0;
    while (*text != '\0') {
        uint64_t bytes = strcspn(text, " ");
        assert_true(bytes > 0 && words->count < WORD_COUNT_MAX);
        words->spans[words->count++] =
            (struct cistern_span){text, bytes == 1 && *text == '_' ? 0 : bytes};
        text += bytes;
        text += *text == ' ';
    }
}

/* ---- words out ---- */

struct text { /* words joined by blanks */
    char *words[65536];
    uint32_t count;
};
static struct text out;

static char *span_copy(struct cistern_span span)
{
    char *copy = malloc(span.bytes + 2);
    assert_non_null(copy);
    memcpy(copy, span.data, span.bytes);
    copy[span.bytes] = '\0';
    return copy;
}

static void word_add(char *word)
{
    assert_true(out.count < sizeof out.words / sizeof out.words[0]);
    out.words[out.count++] = word;
}

static int word_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *words_join(int sorted)
{
    size_t bytes = 1;
    for (uint32_t i = 0; i < out.count; i++) {
        bytes += strlen(out.words[i]) + 1;
    }
    if (sorted) {
        qsort(out.words, out.count, sizeof out.words[0], word_compare);
    }
    char *joined = malloc(bytes);
    assert_non_null(joined);
    char *to = joined;
    for (uint32_t i = 0; i < out.count; i++) {
        size_t length = strlen(out.words[i]);
        memcpy(to, out.words[i], length);
        to += length;
        *to++ = ' ';
        free(out.words[i]);
    }
    *(to > joined ? to - 1 : to) = '\0';
    out.count = 0;
    return joined;
}

/* "key", "key@w" */
static char *place_word(const struct cistern_address *address)
{
    const struct cistern_span *name_space = &address->name_space;
    char *word = malloc(address->key.bytes + name_space->bytes + 2);
    assert_non_null(word);
    memcpy(word, address->key.data, address->key.bytes);
    uint64_t used = address->key.bytes;
    if (name_space->data != NULL) {
        word[used++] = '@';
        memcpy(word + used, name_space->data, name_space->bytes);
        used += name_space->bytes;
    }
    word[used] = '\0';
    return word;
}

/* Through the end, a few at a time; closes the cursor. */
static void cursor_walk(
    struct cistern_cursor *cursor, char *(*word_of)(const struct cistern_entry *))
{
    struct cistern_entry entries[ENTRIES_PER_STEP];
    uint32_t count = 0;
    do {
        assert_ok(cistern_cursor_next(cursor, entries, ENTRIES_PER_STEP, &count, &error), error);
        for (uint32_t i = 0; i < count; i++) {
            word_add(word_of(&entries[i]));
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
}

/* ---- actions ---- */

void put_value(struct cistern_state *state, const char *place, const char *text)
{
    struct cistern_address address = at(place);
    assert_ok(cistern_value_put(state, &address, span_of(text), &error), error);
}

void add_value(struct cistern_state *state, const char *place, const char *text)
{
    struct cistern_address address = at(place);
    assert_ok(cistern_value_add(state, &address, span_of(text), &error), error);
}

void add_sum(struct cistern_state *state, const char *place, int64_t amount)
{
    struct cistern_address address = at(place);
    uint8_t bytes[8];
    cistern_put_u64_be(bytes, (uint64_t)amount);
    assert_ok(cistern_value_add(state, &address, (struct cistern_span){bytes, 8}, &error), error);
}

void append_list(struct cistern_state *state, const char *place, const char *elements)
{
    struct cistern_address address = at(place);
    struct words words;
    words_split(&words, elements);
    assert_ok(cistern_list_append_many(state, &address, words.spans, words.count, &error), error);
}

void replace_list(struct cistern_state *state, const char *place, const char *elements)
{
    struct cistern_address address = at(place);
    struct words words;
    words_split(&words, elements);
    assert_ok(cistern_list_replace(state, &address, words.spans, words.count, &error), error);
}

void put_map(struct cistern_state *state, const char *place, const char *entries)
{
    struct cistern_address address = at(place);
    struct words words;
    words_split(&words, entries);
    for (uint32_t i = 0; i < words.count; i++) {
        const char *word = words.spans[i].data;
        const char *cut = memchr(word, '=', words.spans[i].bytes);
        struct cistern_span value = ABSENT;
        if (cut != NULL) {
            value = (struct cistern_span){cut + 1, words.spans[i].bytes - (cut + 1 - word)};
            words.spans[i].bytes = (uint64_t)(cut - word);
            words.spans[i].bytes -= words.spans[i].bytes == 1 && *word == '_';
        }
        assert_ok(cistern_map_put(state, &address, words.spans[i], value, &error), error);
    }
}

void remove_map(struct cistern_state *state, const char *place, const char *user_keys)
{
    struct cistern_address address = at(place);
    struct words words;
    words_split(&words, user_keys);
    for (uint32_t i = 0; i < words.count; i++) {
        assert_ok(cistern_map_remove(state, &address, words.spans[i], &error), error);
    }
}

static void timers_change(struct cistern_state *state, const char *timers, int is_add)
{
    char *copy = span_copy(span_of(timers));
    char *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *place = NULL;
        int64_t time = strtoll(word, &place, 10);
        struct cistern_address address = at(place + 1);
        assert_ok(is_add ? cistern_timer_add(state, time, &address, &error)
                         : cistern_timer_remove(state, time, &address, &error),
            error);
    }
    free(copy);
}

void add_timers(struct cistern_state *state, const char *timers)
{
    timers_change(state, timers, 1);
}

void remove_timers(struct cistern_state *state, const char *timers)
{
    timers_change(state, timers, 0);
}

void clear_place(struct cistern_state *state, const char *place)
{
    struct cistern_address address = at(place);
    assert_ok(cistern_state_clear(state, &address, &error), error);
}

void merge_places(struct cistern_state *state, const char *target, const char *name_spaces)
{
    struct cistern_address address = at(target);
    struct words words;
    words_split(&words, name_spaces);
    assert_ok(cistern_state_merge(state, &address, words.spans, words.count, &error), error);
}

/* ---- what is there ---- */

char *text_of_value(struct cistern_state *state, const char *place)
{
    struct cistern_address address = at(place);
    struct cistern_span value = ABSENT;
    uint32_t status = cistern_value_get(state, &address, &value, &error);
    if (status == CISTERN_NOT_FOUND) {
        return NULL;
    }
    assert_ok(status, error);
    return span_copy(value);
}

static char *element_word(const struct cistern_entry *entry)
{
    assert_non_null(entry->value.data);
    return entry->value.bytes != 0 ? span_copy(entry->value) : span_copy(SPAN("_"));
}

char *text_of_list(struct cistern_state *state, const char *place)
{
    struct cistern_address address = at(place);
    struct cistern_cursor *cursor;
    assert_ok(cistern_list_open(state, &address, &cursor, &error), error);
    cursor_walk(cursor, element_word);
    return words_join(0);
}

static char *map_word(const struct cistern_entry *entry)
{
    const struct cistern_span *user_key = &entry->user_key;
    char *word = malloc(user_key->bytes + entry->value.bytes + 3);
    assert_non_null(word);
    memcpy(word, user_key->bytes != 0 ? user_key->data : "_",
        user_key->bytes != 0 ? user_key->bytes : 1);
    uint64_t used = user_key->bytes != 0 ? user_key->bytes : 1;
    if (entry->value.data != NULL) {
        word[used++] = '=';
        memcpy(word + used, entry->value.data, entry->value.bytes);
        used += entry->value.bytes;
    }
    word[used] = '\0';
    return word;
}

char *text_of_map(struct cistern_state *state, const char *place)
{
    struct cistern_address address = at(place);
    struct cistern_cursor *cursor;
    assert_ok(cistern_map_open(state, &address, &cursor, &error), error);
    cursor_walk(cursor, map_word);
    return words_join(1);
}

static char *timer_word(const struct cistern_entry *entry)
{
    char *place = place_word(&entry->address);
    char *word = malloc(strlen(place) + 24);
    assert_non_null(word);
    sprintf(word, "%lld:%s", (long long)entry->written_ms, place);
    free(place);
    return word;
}

/* Words of equal time stand in no particular order: they are sorted among themselves. */
char *text_of_timers(struct cistern_state *state, int64_t up_to_ms, uint32_t capacity)
{
    struct cistern_entry *timers = calloc(capacity, sizeof *timers);
    assert_non_null(timers);
    uint32_t count = 0;
    assert_ok(cistern_timer_pop_due(state, up_to_ms, timers, capacity, &count, &error), error);
    assert_true(count <= capacity);
    uint32_t equal_from = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(timers[i].written_ms <= up_to_ms);
        if (i > 0 && timers[i].written_ms != timers[i - 1].written_ms) {
            assert_true(timers[i].written_ms > timers[i - 1].written_ms);
            qsort(
                out.words + equal_from, out.count - equal_from, sizeof out.words[0], word_compare);
            equal_from = out.count;
        }
        word_add(timer_word(&timers[i]));
    }
    qsort(out.words + equal_from, out.count - equal_from, sizeof out.words[0], word_compare);
    free(timers);
    return words_join(0);
}

/* ---- expectations ---- */

/* "map k@w", for messages. */
static const char *spot(const struct cistern_state *state, const char *place)
{
    static char text[256];
    snprintf(text, sizeof text, "%s %.100s", state->descriptor.name, place);
    return text;
}

void check_text(char *got, const char *expected, const char *what)
{
    int is_equal = got == NULL || expected == NULL ? got == expected : strcmp(got, expected) == 0;
    if (!is_equal) {
        print_error("%s: got \"%.2000s\", expected \"%.2000s\"\n", what,
            got != NULL ? got : "(nothing)", expected != NULL ? expected : "(nothing)");
    }
    free(got);
    assert_true(is_equal);
}

void check_value(struct cistern_state *state, const char *place, const char *text)
{
    check_text(text_of_value(state, place), text, spot(state, place));
}

void check_sum(struct cistern_state *state, const char *place, int64_t sum)
{
    struct cistern_address address = at(place);
    struct cistern_span value = ABSENT;
    assert_ok(cistern_value_get(state, &address, &value, &error), error);
    assert_int_equal(value.bytes, 8);
    assert_int_equal((int64_t)cistern_get_u64_be(value.data), sum);
}

void check_nothing(struct cistern_state *state, const char *place)
{
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        check_list(state, place, "");
        break;
    case CISTERN_MAP:
        check_map(state, place, "");
        break;
    default:
        check_value(state, place, NULL);
    }
}

void check_list(struct cistern_state *state, const char *place, const char *elements)
{
    check_text(text_of_list(state, place), elements, spot(state, place));
}

void check_map(struct cistern_state *state, const char *place, const char *entries)
{
    struct cistern_address address = at(place);
    uint64_t expected = *entries != '\0';
    for (const char *blank = entries; (blank = strchr(blank, ' ')) != NULL; blank++) {
        expected++;
    }
    check_text(text_of_map(state, place), entries, spot(state, place));
    uint64_t count = 77;
    uint32_t is_empty = 77;
    assert_ok(cistern_map_count(state, &address, &count, &error), error);
    assert_int_equal(count, expected);
    assert_ok(cistern_map_is_empty(state, &address, &is_empty, &error), error);
    assert_int_equal(is_empty, expected == 0);
}

void check_due(struct cistern_state *state, int64_t up_to_ms, const char *timers)
{
    check_text(text_of_timers(state, up_to_ms, 1000), timers, "due");
}

static char *key_word(const struct cistern_entry *entry)
{
    return span_copy(entry->address.key);
}

static char *pair_word(const struct cistern_entry *entry)
{
    return place_word(&entry->address);
}

void check_keys(struct cistern_state *state, const char *name_space, const char *keys)
{
    struct cistern_cursor *cursor;
    struct cistern_span span = *name_space == '@' ? span_of(name_space + 1) : ABSENT;
    assert_ok(cistern_keys_open(state, span, &cursor, &error), error);
    cursor_walk(cursor, key_word);
    check_text(words_join(1), keys, spot(state, "keys"));
}

void check_pairs(struct cistern_state *state, const char *places)
{
    struct cistern_cursor *cursor;
    assert_ok(cistern_keys_and_namespaces_open(state, &cursor, &error), error);
    cursor_walk(cursor, pair_word);
    check_text(words_join(1), places, spot(state, "keys and namespaces"));
}

void check_entries(struct cistern_state *state, uint64_t expected)
{
    struct cistern_cursor *cursor;
    struct cistern_entry entries[7];
    uint64_t total = 0;
    uint32_t count = 0;
    assert_ok(cistern_entries_open(state, &cursor, &error), error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 7, &count, &error), error);
        total += count;
    } while (count != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(total, expected);
}

/* ---- one thing for each kind ---- */

/* A map's entry has the same text as user key and value. */
void put_thing(struct cistern_state *state, const char *place, const char *text)
{
    struct cistern_address address = at(place);
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        replace_list(state, place, text);
        break;
    case CISTERN_MAP:
        clear_place(state, place);
        assert_ok(cistern_map_put(state, &address, span_of(text), span_of(text), &error), error);
        break;
    case CISTERN_REDUCING: {
        uint8_t bytes[8] = {0};
        memcpy(bytes, text, strlen(text) < 8 ? strlen(text) : 8);
        assert_ok(
            cistern_value_put(state, &address, (struct cistern_span){bytes, 8}, &error), error);
        break;
    }
    default:
        put_value(state, place, text);
    }
}

void check_thing(struct cistern_state *state, const char *place, const char *text)
{
    char expected[64];
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        check_list(state, place, text);
        break;
    case CISTERN_MAP:
        snprintf(expected, sizeof expected, "%s=%s", text, text);
        check_map(state, place, expected);
        break;
    case CISTERN_REDUCING:
        snprintf(expected, sizeof expected, "%.8s", text);
        check_value(state, place, expected);
        break;
    default:
        check_value(state, place, text);
    }
}
