#include "base/core/mutant.h"

#ifdef WEFT_MUTANTS
#include <string.h>

enum mutant mutant_on;

bool mutant_switch_on(const char *name)
{
    static const struct {
        const char *name;
        enum mutant id;
    } all[] = {
#define MUTANT_ROW(n, what) {#n, MUTANT_##n},
        MUTANT_LIST(MUTANT_ROW)
#undef MUTANT_ROW
    };
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i].name, name) == 0) {
            mutant_on = all[i].id;
            return true;
        }
    return false;
}
#endif
