/* view.c: counting what a view shows. */
#include "tensor/view.h"

int64_t stlora_view_count(const stlora_view *view)
{
    int64_t count = 1;
    for (int i = 0; i < view->ndim; i++) count *= view->shape[i];
    return count;
}
