/* version.h: the library's version. Numbers of enums and layouts of structs are kept within a major version from 1.0 on. */
#ifndef STLORA_VERSION_H
#define STLORA_VERSION_H

#include "stlora/status.h"

#define STLORA_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* stlora_version: STLORA_VERSION of the library that is linked. Since 0.1. */
STLORA_API const char *stlora_version(void);

#ifdef __cplusplus
}
#endif
#endif
