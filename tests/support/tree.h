/* tree.h -- a directory that stands for / in a test: files by their absolute path, removed at the
 * end. */
#ifndef CISTERN_TEST_TREE_H
#define CISTERN_TEST_TREE_H

#include "test.h"

#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
    char root[64];
};

static inline void tree_open(struct tree *tree)
{
    strcpy(tree->root, "/tmp/cistern-tree-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
}

static inline int tree_remove_one(
    const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
    (void)status;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static inline void tree_close(struct tree *tree)
{
    assert_int_equal(nftw(tree->root, tree_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* Makes the folders on the way too. */
static inline void tree_write(const struct tree *tree, const char *path, const char *text)
{
    char whole[512];
    int length = snprintf(whole, sizeof whole, "%s%s", tree->root, path);
    assert_true(length < (int)sizeof whole);
    for (char *at = whole + strlen(tree->root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(whole, 0777); /* may be there */
        *at = '/';
    }
    FILE *file = fopen(whole, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

#endif
