/* Route configurations: the table that a listener's requests are matched in. */
#include "proxy/xds/conf_build_internal.h"

#define MSG(name) Envoy__Config__Route__V3__##name

void route_spec_fini(struct route_spec *spec)
{
    for (size_t i = 0; i < spec->vhost_count; i++)
        conf_part_unref(&spec->vhosts[i]->part);
    mem_free(spec->vhosts);
    if (spec->table)
        conf_part_unref(&spec->table->part);
    *spec = (struct route_spec){0};
}

bool build_route_spec(const MSG(RouteConfiguration) * in, struct slice name,
                      struct xds_stamp version, struct route_spec *ret, struct err *err)
{
    struct route_spec spec = {.table = route_table_new(), .vhds = in->vhds != NULL};
    struct route_table *t = spec.table;
    struct arena *arena = &t->part.arena;
    t->name = arena_dup(arena, name);
    t->version = version;
    t->ignore_port = in->ignore_port_in_host_matching;
    spec.vhosts = mem_array(in->n_virtual_hosts + 1, sizeof(*spec.vhosts));
    bool ok = !in->n_request_mirror_policies && !in->n_typed_per_filter_config
                  ? true
                  : err_set(err, ERR_UNSUPPORTED,
                            "mirrors and filters' configuration for all hosts are not known");
    for (size_t i = 0; ok && i < in->n_virtual_hosts; i++) {
        ok = build_virtual_host(in->virtual_hosts[i], &spec.vhosts[spec.vhost_count], err);
        if (ok)
            spec.vhost_count++;
    }
    ok = ok &&
         build_header_changes(arena, in->request_headers_to_add, in->n_request_headers_to_add,
                              in->request_headers_to_remove, in->n_request_headers_to_remove,
                              &t->request, err) &&
         build_header_changes(arena, in->response_headers_to_add, in->n_response_headers_to_add,
                              in->response_headers_to_remove, in->n_response_headers_to_remove,
                              &t->response, err);
    if (!ok) {
        route_spec_fini(&spec);
        return err_wrap(err, "RouteConfiguration %.*s", SLICE(name));
    }
    *ret = spec;
    return true;
}

bool conf_build_routes(struct slice name, struct xds_stamp version, struct slice body,
                       struct route_spec *ret, struct err *err)
{
    struct arena scratch = {0};
    const MSG(RouteConfiguration) *in =
        pb_unpack(&envoy__config__route__v3__route_configuration__descriptor, body, &scratch, err);
    bool ok = in ? build_route_spec(in, name, version, ret, err)
                 : err_wrap(err, "RouteConfiguration %.*s", SLICE(name));
    arena_fini(&scratch);
    return ok;
}

/* Binding. */

struct route_table *conf_bind_routes(const struct route_spec *spec,
                                     struct virtual_host *const *more, size_t more_count,
                                     struct err *err)
{
    const struct route_table *from = spec->table;
    struct route_table *t = route_table_new();
    struct arena *arena = &t->part.arena;
    t->part.shares = conf_part_ref(&spec->table->part);
    t->name = from->name;
    t->version = from->version;
    t->ignore_port = from->ignore_port;
    t->request = from->request;
    t->response = from->response;
    t->vhosts = ARENA_ARRAY(arena, struct virtual_host *, spec->vhost_count + more_count + 1);
    for (size_t i = 0; i < spec->vhost_count + more_count; i++) {
        struct virtual_host *v =
            i < spec->vhost_count ? spec->vhosts[i] : more[i - spec->vhost_count];
        conf_part_ref(&v->part);
        t->vhosts[t->vhost_count++] = v;
    }
    if (route_table_index(t, err))
        return t;
    conf_part_unref(&t->part);
    return NULL;
}
