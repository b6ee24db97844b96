/* show_profile.h: the profile of a run: as a table for people, as JSON for programs. */
#ifndef CLI_SHOW_PROFILE_H
#define CLI_SHOW_PROFILE_H

#include <jansson.h>

#include "stlora/train.h"

/* show_profile: the table, to stdout. */
STLORA_NODISCARD stlora_status show_profile(const stlora_profile *profile, stlora_error *err);

/* profile_json: every number of it. New reference. */
json_t *profile_json(const stlora_profile *profile);

#endif
