#include "proxy/cluster.h"

#include "base/core/assert.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

/* Hosts. */

static void on_name_idle(void *ctx)
{
    host_release(ctx);
}

static struct dns_name *dns_of(struct up_host *h, struct slice name_port)
{
    struct slice name, port;
    uint32_t number;
    if (!slice_cut_last(name_port, ':', &name, &port) || !slice_u32(port, &number) ||
        number > UINT16_MAX)
        return NULL;
    return dns_name_new(h->cluster->w->env, name, (uint16_t)number, on_name_idle, h);
}

static struct up_host *host_new(struct up_cluster *c, struct slice key, const struct env_addr *addr)
{
    struct up_host *h = MEM_NEW(struct up_host);
    h->cluster = c;
    h->key = slice_dup(key);
    h->addr = *addr;
    if (!addr->len)
        h->dns = dns_of(h, key);
    list_init(&h->idle);
    list_init(&h->sessions);
    list_init(&h->pending[UP_HTTP1]);
    list_init(&h->pending[UP_HTTP2]);
    map_put(&c->hosts, h->key, h);
    return h;
}

static void host_set(struct up_host *h, struct endpoint_set *set, const struct endpoint *e)
{
    struct endpoint_set *old = h->set;
    if (set)
        conf_part_ref(&set->part);
    h->set = set;
    h->lb.endpoint = e;
    if (old)
        conf_part_unref(&old->part);
}

void host_release(struct up_host *h)
{
    if (!(h->removed || h->transient) || h->conns || h->lb.active || h->pending_n[UP_HTTP1] ||
        h->pending_n[UP_HTTP2])
        return;
    /* However many requests for a name come and go, one question about it is under way. */
    if (!h->removed && h->dns && dns_name_busy(h->dns))
        return;
    if (!h->removed)
        map_del(&h->cluster->hosts, h->key);
    metrics_cache_clear(&h->cells);
    host_set(h, NULL, NULL);
    dns_name_free(h->dns);
    slice_free(h->key);
    mem_free(h);
}

static void host_remove(struct up_host *h)
{
    struct up_cluster *c = h->cluster;
    if (h->outlier.until)
        c->ejected--;
    map_del(&c->hosts, h->key);
    h->removed = true;
    pool_host_retire(h);
    host_release(h);
}

/* Life. */

static void outlier_tick(struct env_timer *t);

static struct up_cluster *cluster_new_for(struct worker *w, struct slice name)
{
    struct up_cluster *c = MEM_NEW(struct up_cluster);
    c->w = w;
    c->name = slice_dup(name);
    c->outlier_timer.fn = outlier_tick;
    cluster_stats_init(&c->stats, w->metric_set, c->name);
    map_put(&w->clusters, c->name, c);
    return c;
}

static void cluster_free(struct up_cluster *c)
{
    wf_assert(c->removed && c->users == 0);
    env_timer_stop(c->w->env, &c->outlier_timer);
    lb_fini(&c->lb);
    metrics_cache_clear(&c->cells);
    map_fini(&c->hosts);
    if (c->set)
        conf_part_unref(&c->set->part);
    if (c->conf)
        conf_part_unref(&c->conf->part);
    slice_free(c->name);
    mem_free(c);
}

struct up_cluster *cluster_ref(struct up_cluster *c)
{
    c->users++;
    return c;
}

void cluster_unref(struct up_cluster *c)
{
    wf_assert(c->users > 0);
    if (--c->users == 0 && c->removed)
        cluster_free(c);
}

static struct outlier_options outlier_options_of(const struct cluster *conf)
{
    return (struct outlier_options){
        .consecutive_5xx = conf->outlier.consecutive_5xx,
        .consecutive_gateway = conf->outlier.consecutive_gateway,
        .max_percent = conf->outlier.max_ejection_percent,
        .interval = conf->outlier.interval,
        .ejection_base = conf->outlier.base_ejection,
        .ejection_max = conf->outlier.max_ejection,
    };
}

static void lb_rebuild(struct up_cluster *c)
{
    const struct cluster *conf = c->conf;
    struct lb_options opt = {.policy = conf->lb,
                             .panic_percent = conf->panic_percent,
                             .choices = conf->lr_choices,
                             .ring_min = conf->ring_min,
                             .ring_max = conf->ring_max,
                             .maglev_size = conf->maglev_size};
    size_t n = 0;
    struct lb_host **hosts = mem_array(c->set && c->set->n ? c->set->n : 1, sizeof(*hosts));
    for (size_t i = 0; c->set && i < c->set->n; i++) {
        struct up_host *h = map_get(&c->hosts, c->set->items[i].text);
        if (h && h->lb.endpoint == &c->set->items[i]) /* an address named twice counts once */
            hosts[n++] = &h->lb;
    }
    lb_update(&c->lb, &opt, hosts, n);
    mem_free(hosts);
}

static void membership_show(struct up_cluster *c)
{
    int64_t healthy = 0, total = 0;
    MAP_EACH (&c->hosts, e) {
        const struct up_host *h = e->value;
        total++;
        healthy += h->lb.endpoint && lb_host_healthy(&h->lb);
    }
    metric_set_value(c->stats.membership_total, total);
    metric_set_value(c->stats.membership_healthy, healthy);
    metric_set_value(c->stats.outlier_active, c->ejected);
}

/* Hosts of the new set are found by address or made; the others are removed. */
static void hosts_update(struct up_cluster *c, struct endpoint_set *set)
{
    VEC(struct up_host *) gone = {0};
    for (size_t i = 0; set && i < set->n; i++) {
        const struct endpoint *e = &set->items[i];
        struct up_host *h = map_get(&c->hosts, e->text);
        if (!h)
            h = host_new(c, e->text, &e->addr);
        metrics_cache_clear(&h->cells); /* its labels may have changed */
        host_set(h, set, e);
    }
    MAP_EACH (&c->hosts, e) {
        struct up_host *h = e->value;
        if (h->set != set || !set)
            *vec_push(&gone) = h;
    }
    for (size_t i = 0; i < gone.n; i++)
        host_remove(gone.p[i]);
    vec_fini(&gone);
}

static bool same_balancing(const struct cluster *a, const struct cluster *b)
{
    return a && a->lb == b->lb && a->endpoints == b->endpoints && a->lr_choices == b->lr_choices &&
           a->ring_min == b->ring_min && a->ring_max == b->ring_max &&
           a->maglev_size == b->maglev_size && !(a->panic_percent < b->panic_percent) &&
           !(a->panic_percent > b->panic_percent);
}

static bool same_labels(const struct cluster *a, const struct cluster *b)
{
    return a && slice_eq(a->service_host, b->service_host) &&
           slice_eq(a->service_name, b->service_name) && slice_eq(a->service_ns, b->service_ns);
}

static void labels_forget(struct up_cluster *c)
{
    metrics_cache_clear(&c->cells);
    MAP_EACH (&c->hosts, e)
        metrics_cache_clear(&((struct up_host *)e->value)->cells);
}

static bool is_warming(const struct cluster *conf)
{
    return conf->kind == CLUSTER_EDS && !conf->endpoints;
}

/* A cluster that comes back has no endpoints until they arrive: those that it had serve on. */
static struct endpoint_set *next_set(const struct up_cluster *c, const struct cluster *conf)
{
    return is_warming(conf) ? c->set : conf->endpoints;
}

static void cluster_set_conf(struct up_cluster *c, struct cluster *conf)
{
    struct cluster *old = c->conf;
    struct endpoint_set *old_set = c->set;
    if (old == conf)
        return;
    conf_part_ref(&conf->part);
    c->conf = conf;
    if (!same_labels(old, conf))
        labels_forget(c);
    c->outlier = outlier_options_of(conf);
    c->set = next_set(c, conf);
    if (c->set)
        conf_part_ref(&c->set->part);
    bool by_address = conf->kind == CLUSTER_PASSTHROUGH || conf->kind == CLUSTER_ORIGINAL_DST;
    if (c->set != old_set && !by_address)
        hosts_update(c, c->set);
    if (!same_balancing(old, conf)) {
        lb_rebuild(c);
        membership_show(c);
    }
    if (c->outlier.interval > 0 && !c->outlier_timer.armed)
        env_timer_start(c->w->env, &c->outlier_timer, c->outlier.interval);
    if (old_set)
        conf_part_unref(&old_set->part);
    if (old)
        conf_part_unref(&old->part);
}

static void set_leaving(struct up_cluster *c, bool leaving)
{
    c->w->leaving_count += (size_t)leaving - (size_t)c->leaving;
    c->leaving = leaving;
}

static void cluster_remove(struct up_cluster *c)
{
    map_del(&c->w->clusters, c->name);
    c->removed = true;
    set_leaving(c, false);
    cluster_ref(c); /* until its hosts have let go */
    lb_update(&c->lb, &(struct lb_options){0}, NULL, 0);
    VEC(struct up_host *) all = {0};
    MAP_EACH (&c->hosts, e)
        *vec_push(&all) = e->value;
    for (size_t i = 0; i < all.n; i++)
        host_remove(all.p[i]);
    vec_fini(&all);
    cluster_unref(c);
}

struct up_cluster *cluster_take(struct worker *w, const struct conf *own, struct slice name)
{
    struct up_cluster *c = map_get(&w->clusters, name);
    if (!c) {
        struct cluster *now = w->conf ? conf_cluster(w->conf->conf, name) : NULL;
        struct cluster *then = conf_cluster(own, name);
        struct cluster *conf = then && (!now || is_warming(now)) ? then : now;
        bool leaving = !now;
        if (!conf)
            return NULL;
        c = cluster_new_for(w, name);
        set_leaving(c, leaving);
        cluster_set_conf(c, conf);
    }
    c->routed++;
    return cluster_ref(c);
}

void cluster_drop(struct up_cluster *c)
{
    wf_assert(c->routed > 0);
    if (--c->routed == 0 && c->leaving)
        worker_sweep_start(c->w);
    cluster_unref(c);
}

static void leave(struct up_cluster *c)
{
    set_leaving(c, true);
    if (c->routed == 0)
        cluster_remove(c);
}

static void clusters_each(struct worker *w, void (*fn)(struct up_cluster *c))
{
    VEC(struct up_cluster *) all = {0};
    MAP_EACH (&w->clusters, e)
        *vec_push(&all) = e->value;
    for (size_t i = 0; i < all.n; i++)
        fn(all.p[i]);
    vec_fini(&all);
}

static void update_one(struct up_cluster *c)
{
    struct cluster *conf = conf_cluster(c->w->conf->conf, c->name);
    if (!conf) {
        leave(c);
        return;
    }
    set_leaving(c, false);
    cluster_set_conf(c, conf);
}

void clusters_update(struct worker *w)
{
    clusters_each(w, update_one);
}

static void sweep_one(struct up_cluster *c)
{
    if (c->leaving && c->routed == 0)
        cluster_remove(c);
}

void clusters_sweep(struct worker *w)
{
    if (w->leaving_count)
        clusters_each(w, sweep_one);
}

void clusters_close(struct worker *w)
{
    clusters_each(w, cluster_remove);
}

/* Picking. */

struct tried {
    struct up_host *const *hosts;
    size_t n;
};

static bool is_new(const void *ctx, const struct lb_host *h)
{
    const struct tried *t = ctx;
    for (size_t i = 0; i < t->n; i++)
        if (&t->hosts[i]->lb == h)
            return false;
    return true;
}

struct up_host *cluster_pick(struct up_cluster *c, uint64_t hash, struct up_host *const *avoid,
                             size_t avoid_n, uint32_t attempts)
{
    const struct tried tried = {avoid, avoid_n};
    struct lb_host *h = lb_pick(&c->lb, hash, &c->w->rng);
    for (uint32_t i = 1; h && avoid_n && i < attempts && !is_new(&tried, h); i++)
        h = lb_pick(&c->lb, hash ? hash_u64(hash + i) : 0, &c->w->rng);
    if (h && !is_new(&tried, h)) {
        struct lb_host *other = lb_pick_fitting(&c->lb, &c->w->rng, is_new, &tried);
        h = other ? other : h;
    }
    return h ? container_of(h, struct up_host, lb) : NULL;
}

static struct up_host *transient_host(struct up_cluster *c, struct slice key,
                                      const struct env_addr *addr)
{
    struct up_host *h = map_get(&c->hosts, key);
    if (h || c->hosts.n >= PROXY_PASSTHROUGH_HOSTS_MAX)
        return h;
    h = host_new(c, key, addr);
    h->transient = true;
    return h;
}

struct up_host *cluster_host_at(struct up_cluster *c, const struct env_addr *addr)
{
    char text[ENV_ADDR_TEXT];
    return transient_host(c, env_addr_format(addr, text), addr);
}

struct up_host *cluster_host_named(struct up_cluster *c, struct slice name_port)
{
    const struct env_addr none = {.len = 0};
    return transient_host(c, name_port, &none);
}

struct metrics_party host_party(const struct up_host *h)
{
    const struct endpoint *e = h ? h->lb.endpoint : NULL;
    if (!e)
        return (struct metrics_party){0};
    return (struct metrics_party){.workload = e->workload,
                                  .ns = e->ns,
                                  .app = e->canonical,
                                  .version = e->version,
                                  .canonical = e->canonical,
                                  .revision = e->version};
}

const struct env_addr *host_addr(struct up_host *h)
{
    return h->dns ? dns_next(h->dns) : &h->addr;
}

/* Outlier detection. */

static uint32_t hosts_total(const struct up_cluster *c)
{
    return (uint32_t)c->hosts.n;
}

void cluster_result(struct up_host *h, int status)
{
    struct up_cluster *c = h->cluster;
    h->errors += status == 0 || status >= 500;
    if (h->removed || !outlier_result(&h->outlier, &c->outlier, status))
        return;
    wf_ms now = env_now(c->w->env);
    if (!outlier_eject(&h->outlier, &c->outlier, c->ejected, hosts_total(c), now))
        return;
    c->ejected++;
    h->lb.ejected = true;
    lb_refresh(&c->lb);
    metric_add(c->stats.outlier_ejections, 1);
    membership_show(c);
}

static void outlier_tick(struct env_timer *t)
{
    struct up_cluster *c = container_of(t, struct up_cluster, outlier_timer);
    bool changed = false;
    MAP_EACH (&c->hosts, e) {
        struct up_host *h = e->value;
        if (!outlier_due(&h->outlier, env_now(c->w->env)))
            continue;
        h->lb.ejected = false;
        c->ejected--;
        changed = true;
    }
    if (changed) {
        lb_refresh(&c->lb);
        membership_show(c);
    }
    if (c->outlier.interval > 0)
        env_timer_start(c->w->env, &c->outlier_timer, c->outlier.interval);
    else if (c->ejected == 0)
        return;
    else /* detection was switched off: take the ejected ones back in their time */
        env_timer_start(c->w->env, &c->outlier_timer, 1000);
}
