/* version.c: the library's version. */
#include "stlora/version.h"

const char *stlora_version(void)
{
    return STLORA_VERSION;
}
