/* Between the files of the model: the list of indexes that an object is in, while it is parsed. */
#ifndef WEFT_PILOT_MODEL_MODEL_INTERNAL_H
#define WEFT_PILOT_MODEL_MODEL_INTERNAL_H

#include "pilot/model/model.h"

struct model_entries {
    struct model_entry *p;
    size_t n, cap;
    struct arena *arena; /* of the object */
    struct slice root_ns;
};

#endif
