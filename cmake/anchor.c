/* anchor.c -- gives a shared library that is made wholly of module archives one object of its
 * own. */
typedef int cistern_anchor;
