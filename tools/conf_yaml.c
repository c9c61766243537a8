/*
 * conf_yaml.c -- config.yaml: a YAML mapping, nested as one likes; a setting's key is the path to
 * it, joined by points. Parsing is libyaml's.
 */
#include "conf.h"

#include "cistern/error.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct walk {
    struct conf *conf;
    yaml_document_t *document;
    const char *name;
    struct cistern_error *error;
    char key[CONF_KEY_BYTES_MAX + 1]; /* the path so far */
    uint32_t key_bytes;
    uint32_t steps; /* nodes seen; aliases can make few nodes many */
};

static uint32_t line_of(const yaml_node_t *node)
{
    return (uint32_t)node->start_mark.line + 1;
}

static uint32_t walk_fail(const struct walk *walk, const yaml_node_t *node, const char *what)
{
    return cistern_fail(
        walk->error, CISTERN_INVALID, walk->name, "%s:%u: %s", walk->name, line_of(node), what);
}

static int is_null(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
               strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0);
}

static uint32_t scalar_add(struct walk *walk, const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    uint64_t bytes = node->data.scalar.length;
    if (memchr(text, '\0', bytes) != NULL) {
        return walk_fail(walk, node, "a NUL byte in a value");
    }
    if (is_null(node)) {
        conf_warn(walk->conf, "%s:%u: %s has no value and is skipped", walk->name, line_of(node),
            walk->key);
        return CISTERN_OK;
    }
    return conf_add(walk->conf, (struct conf_origin){walk->name, line_of(node)}, walk->key,
        walk->key_bytes, text, bytes, walk->error);
}

/* A list becomes its items, separated by ';' as in the older file. */
static uint32_t sequence_add(struct walk *walk, const yaml_node_t *node)
{
    char joined[1024];
    uint64_t used = 0;
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        const yaml_node_t *child = yaml_document_get_node(walk->document, *item);
        if (child->type != YAML_SCALAR_NODE) {
            return walk_fail(walk, child, "a list holds something that is no plain value");
        }
        uint64_t bytes = child->data.scalar.length;
        if (bytes + 1 >= sizeof joined - used) {
            return walk_fail(walk, node, "a list of more than 1000 bytes");
        }
        if (memchr(child->data.scalar.value, '\0', bytes) != NULL) {
            return walk_fail(walk, child, "a NUL byte in a value");
        }
        if (used > 0) {
            joined[used++] = ';';
        }
        memcpy(joined + used, child->data.scalar.value, bytes);
        used += bytes;
    }
    return conf_add(walk->conf, (struct conf_origin){walk->name, line_of(node)}, walk->key,
        walk->key_bytes, joined, used, walk->error);
}

/* Flink's YAML loader refuses a key that a mapping has twice. */
static uint32_t twice_check(struct walk *walk, const yaml_node_t *node, yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(walk->document, pair->key);
    if (key->type != YAML_SCALAR_NODE) {
        return walk_fail(walk, key, "a key that is no plain text");
    }
    if (memchr(key->data.scalar.value, '\0', key->data.scalar.length) != NULL) {
        return walk_fail(walk, key, "a NUL byte in a key");
    }
    for (yaml_node_pair_t *earlier = node->data.mapping.pairs.start; earlier < pair; earlier++) {
        const yaml_node_t *other = yaml_document_get_node(walk->document, earlier->key);
        if (other->data.scalar.length == key->data.scalar.length &&
            memcmp(other->data.scalar.value, key->data.scalar.value, key->data.scalar.length) ==
                0) {
            return cistern_fail(walk->error, CISTERN_INVALID, walk->name,
                "%s:%u: found duplicate key %.80s, which line %u has already", walk->name,
                line_of(key), (const char *)key->data.scalar.value, line_of(other));
        }
    }
    return CISTERN_OK;
}

static uint32_t node_walk(struct walk *walk, const yaml_node_t *node, uint32_t depth);

static uint32_t mapping_walk(struct walk *walk, const yaml_node_t *node, uint32_t depth)
{
    if (node->data.mapping.pairs.top - node->data.mapping.pairs.start > CONF_ENTRIES_MAX) {
        return walk_fail(walk, node, "too many keys in one mapping");
    }
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        uint32_t status = twice_check(walk, node, pair);
        if (status != CISTERN_OK) {
            return status;
        }
        const yaml_node_t *key = yaml_document_get_node(walk->document, pair->key);
        uint32_t before = walk->key_bytes;
        if (before + 1 + key->data.scalar.length > CONF_KEY_BYTES_MAX) {
            return walk_fail(walk, key, "a key of more than 512 bytes");
        }
        if (before > 0) {
            walk->key[walk->key_bytes++] = '.';
        }
        memcpy(walk->key + walk->key_bytes, key->data.scalar.value, key->data.scalar.length);
        walk->key_bytes += (uint32_t)key->data.scalar.length;
        walk->key[walk->key_bytes] = '\0';
        status = node_walk(walk, yaml_document_get_node(walk->document, pair->value), depth + 1);
        if (status != CISTERN_OK) {
            return status;
        }
        walk->key_bytes = before;
        walk->key[before] = '\0';
    }
    return CISTERN_OK;
}

static uint32_t node_walk(struct walk *walk, const yaml_node_t *node, uint32_t depth)
{
    if (depth > CONF_DEPTH_MAX) {
        return walk_fail(walk, node, "nested deeper than 32 levels");
    }
    if (++walk->steps > 4 * CONF_ENTRIES_MAX) {
        return walk_fail(walk, node, "too many settings");
    }
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return scalar_add(walk, node);
    case YAML_SEQUENCE_NODE:
        return sequence_add(walk, node);
    case YAML_MAPPING_NODE:
        return mapping_walk(walk, node, depth);
    default:
        return walk_fail(walk, node, "a node of no kind");
    }
}

static uint32_t parser_fail(
    const yaml_parser_t *parser, const char *name, struct cistern_error *error)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory for the configuration");
    }
    /* a reader's error (bytes that are no UTF-8) has an offset, no mark */
    if (parser->error == YAML_READER_ERROR) {
        return cistern_fail(error, CISTERN_INVALID, name, "%s: byte %llu: %s", name,
            (unsigned long long)parser->problem_offset, parser->problem);
    }
    return cistern_fail(error, CISTERN_INVALID, name, "%s:%llu: not YAML: %s%s%s", name,
        (unsigned long long)parser->problem_mark.line + 1,
        parser->context != NULL ? parser->context : "", parser->context != NULL ? ", " : "",
        parser->problem != NULL ? parser->problem : "cannot be parsed");
}

static uint32_t document_read(
    struct conf *conf, const char *name, yaml_document_t *document, struct cistern_error *error)
{
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (root == NULL) {
        return CISTERN_OK; /* empty, or comments only */
    }
    struct walk walk = {.conf = conf, .document = document, .name = name, .error = error};
    if (root->type == YAML_SCALAR_NODE && is_null(root)) {
        return CISTERN_OK;
    }
    if (root->type != YAML_MAPPING_NODE) {
        return walk_fail(
            &walk, root, "not a list of KEY: VALUE (is the space behind ':' missing?)");
    }
    return node_walk(&walk, root, 0);
}

uint32_t conf_read_yaml(struct conf *conf, const char *name, const char *text, uint64_t bytes,
    struct cistern_error *error)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory for the configuration");
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    yaml_document_t document;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; status == CISTERN_OK; i++) {
        if (!yaml_parser_load(&parser, &document)) {
            status = parser_fail(&parser, name, error);
            break;
        }
        const yaml_node_t *root = yaml_document_get_root_node(&document);
        int is_last = root == NULL;
        if (root != NULL && i > 0) {
            status = cistern_fail(error, CISTERN_INVALID, name,
                "%s:%u: a second document; Flink reads one", name, line_of(root));
        } else if (root != NULL) {
            status = document_read(conf, name, &document, error);
        }
        yaml_document_delete(&document);
        if (is_last) {
            break;
        }
    }
    yaml_parser_delete(&parser);
    return status;
}
