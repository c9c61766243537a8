/* cgroup_place.c -- see cgroup_private.h. /proc/self/cgroup names the groups, /proc/self/mountinfo
 * says where their hierarchies are mounted and which part of them is. */
#include "cgroup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 8192

struct mount {
    char root[CGROUP_PATH_BYTES];  /* the part of the hierarchy that is mounted */
    char point[CGROUP_PATH_BYTES]; /* where */
};

int64_t cgroup_file_read(const char *directory, const char *name, char *text, size_t capacity)
{
    char path[CGROUP_PATH_BYTES + 64];
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path) {
        return -ENAMETOOLONG;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, text + length, capacity - 1 - length)) > 0) {
        length += (size_t)got;
    }
    int os_errno = got < 0 ? errno : 0;
    close(fd);
    text[length] = '\0';
    return os_errno != 0 ? -(int64_t)os_errno : (int64_t)length;
}

/* Whether `word` is one of the names in a comma-separated list. */
static int list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && strchr(",\n", at[length]) != NULL) {
            return 1; /* strchr finds the NUL too */
        }
    }
    return 0;
}

/* Blanks and backslashes are written as \ooo there. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        unsigned byte;
        if (*from == '\\' && sscanf(from + 1, "%3o", &byte) == 1) {
            *to = (char)byte;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* "36 35 98:0 /root /point rw,noatime master:1 - type source options": whether it is a mount of
 * v1's memory controller (version 1) or of v2. */
static int mount_parse(const char *line, int version, struct mount *ret_mount)
{
    char type[32];
    char options[1024];
    const char *dash = strstr(line, " - ");
    if (dash == NULL || sscanf(dash, " - %31s %*s %1023s", type, options) != 2 ||
        sscanf(line, "%*s %*s %*s %2047s %2047s", ret_mount->root, ret_mount->point) != 2) {
        return 0;
    }
    unescape(ret_mount->root);
    unescape(ret_mount->point);
    return version == 2 ? strcmp(type, "cgroup2") == 0
                        : strcmp(type, "cgroup") == 0 && list_has(options, "memory");
}

/* The part of `group` below the mounted part of its hierarchy; NULL: it lies outside, so all that
 * can be seen of it is the mount itself (a container that sees the host's name of its group). */
static const char *group_below(const char *group, const char *mount_root)
{
    size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    if (strncmp(group, mount_root, length) != 0 ||
        (group[length] != '/' && group[length] != '\0') || strstr(group, "/..") != NULL) {
        return NULL;
    }
    return strcmp(group + length, "/") == 0 ? "" : group + length;
}

static int place_set(
    struct cgroup_place *place, const char *root, const char *point, const char *below)
{
    int top = snprintf(place->path, sizeof place->path, "%s%s", root, point);
    if (top >= (int)sizeof place->path) {
        return 0;
    }
    place->top_bytes = (size_t)top;
    return snprintf(place->path + top, sizeof place->path - (size_t)top, "%s", below) <
           (int)(sizeof place->path - (size_t)top);
}

/* The first mount that shows the group itself, else the first of its hierarchy. */
static void place_find(struct cgroup_place *place, const char *root, const char *group, int version)
{
    char path[CGROUP_PATH_BYTES + 64];
    char line[LINE_BYTES];
    struct mount mount;
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (!mount_parse(line, version, &mount)) {
            continue;
        }
        const char *below = group_below(group, mount.root);
        if (below == NULL && place->is_found) {
            continue;
        }
        place->is_found = place_set(place, root, mount.point, below == NULL ? "" : below);
        if (below != NULL && place->is_found) {
            break;
        }
    }
    fclose(file);
    if (place->is_found && access(place->path, X_OK) != 0) {
        place->path[place->top_bytes] = '\0'; /* named by the host, not mounted here */
    }
}

/* A line of /proc/self/cgroup: "4:memory:/a/b" (v1), "0::/a/b" (v2). */
static void line_look(struct cgroup_places *places, const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) {
        return;
    }
    *group++ = '\0';
    controllers++;
    group[strcspn(group, "\n")] = '\0';
    if (line[0] == '0' && *controllers == '\0') {
        place_find(&places->v2, root, group, 2);
    } else if (list_has(controllers, "memory")) {
        place_find(&places->v1, root, group, 1);
    }
}

void cgroup_places_find(const char *root, struct cgroup_places *ret_places)
{
    char path[CGROUP_PATH_BYTES + 64];
    char line[LINE_BYTES];
    *ret_places = (struct cgroup_places){0};
    if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= (int)sizeof path) {
        return;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line_look(ret_places, root, line);
    }
    fclose(file);
}
