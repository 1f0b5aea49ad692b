#include "registry/cluster_ca.h"

#include <stdio.h>

#include "base/core/assert.h"
#include "base/wire/x509.h"
#include "registry/raft/identity.h"
#include "registry/raft/raft_limits.h"

#define DAY_S ((int64_t)24 * 3600)
#define PATH_BYTES 4096

static const struct slice scheme = S_INIT("weft://");

/* Signing. */

bool cluster_ca_new(struct cluster_ca *ret, uint64_t cluster, int64_t now, struct err *err)
{
    char name[64], uri[64];
    struct cluster_ca ca = {.cluster = cluster};
    wf_assert(cluster);
    snprintf(name, sizeof(name), "weft cluster %016llx", (unsigned long long)cluster);
    snprintf(uri, sizeof(uri), "%.*s%016llx", SLICE(scheme), (unsigned long long)cluster);
    if (!x509_key_new(&ca.key, err) ||
        !x509_self_sign(buf_slice(&ca.key),
                        &(struct x509_subject){.name = slice_of(name),
                                               .uri = slice_of(uri),
                                               .from = now - CLUSTER_CA_SKEW_S,
                                               .until = now + CLUSTER_CA_DAYS * DAY_S,
                                               .ca = true},
                        &ca.cert, err)) {
        cluster_ca_fini(&ca);
        return false;
    }
    *ret = ca;
    return true;
}

void cluster_ca_fini(struct cluster_ca *ca)
{
    x509_wipe(&ca->key);
    buf_fini(&ca->cert);
    *ca = (struct cluster_ca){0};
}

bool cluster_ca_issue(const struct cluster_ca *ca, const struct cluster_ca_node *node,
                      struct buf *ret_cert, struct err *err)
{
    char uri[IDENTITY_TEXT];
    struct x509_info self = {0};
    const struct x509_issuer issuer = {buf_slice(&ca->cert), buf_slice(&ca->key)};
    if (node->id == 0 || node->days <= 0)
        return err_set(err, ERR_INVALID,
                       "a node has an id above 0, its certificate a time to live");
    if (!x509_read(issuer.cert, &self, err))
        return err_wrap(err, "the CA's certificate");
    if (node->now >= self.until)
        return err_set(err, ERR_INVALID, "the CA's own certificate has ended: begin a new one");
    int64_t until = node->now + node->days * DAY_S;
    return x509_issue(&issuer, node->public_key,
                      &(struct x509_subject){
                          .name = node->name,
                          .uri = identity_format(&(struct identity){ca->cluster, node->id}, uri),
                          .from = node->now - CLUSTER_CA_SKEW_S,
                          .until = until < self.until ? until : self.until},
                      ret_cert, err);
}

bool cluster_ca_sign(const struct cluster_ca *ca, struct slice csr,
                     const struct cluster_ca_node *node, struct buf *ret_cert, struct err *err)
{
    struct buf public = {0};
    struct cluster_ca_node n = *node;
    bool ok = x509_csr_public(csr, &public, err);
    n.public_key = buf_slice(&public);
    ok = ok && cluster_ca_issue(ca, &n, ret_cert, err);
    buf_fini(&public);
    return ok;
}

/* Files. */

static bool path_of(char dst[PATH_BYTES], const char *dir, const char *name, const char *file,
                    struct err *err)
{
    int n = snprintf(dst, PATH_BYTES, "%s%s%s%s%s", dir, name ? "/" : "", name ? name : "",
                     file ? "/" : "", file ? file : "");
    return (n > 0 && n < PATH_BYTES) || err_set(err, ERR_INVALID, "%s: the path is too long", dir);
}

static bool file_load(struct env *env, const char *dir, const char *name, const char *file,
                      struct buf *ret, struct err *err)
{
    char path[PATH_BYTES];
    buf_reserve(ret, PEER_TLS_FILE_BYTES_MAX + 1); /* a key leaves no copies by growing */
    return path_of(path, dir, name, file, err) &&
           env_file_load(env, path, PEER_TLS_FILE_BYTES_MAX, ret, err);
}

static bool file_store(struct env *env, const char *dir, const char *name, const char *file,
                       const struct buf *bytes, struct err *err)
{
    char path[PATH_BYTES];
    return path_of(path, dir, name, file, err) && env_file_store(env, path, buf_slice(bytes), err);
}

/* Only "not there" is absent: what cannot be looked at may be somebody's key. */
static bool absent(struct env *env, const char *dir, const char *name, const char *file,
                   struct err *err)
{
    struct buf b = {0};
    struct err e = {0};
    bool there = file_load(env, dir, name, file, &b, &e);
    x509_wipe(&b);
    if (!there && e.code == ERR_NOT_FOUND)
        return true;
    if (!there)
        return err_set(err, e.code, "%s", e.msg);
    return err_set(err, ERR_EXISTS, "%s%s%s/%s is there already: it is not written over", dir,
                   name ? "/" : "", name ? name : "", file);
}

bool cluster_ca_store(const struct cluster_ca *ca, struct env *env, const char *dir,
                      struct err *err)
{
    return env_dir_make(env, dir, err) && absent(env, dir, NULL, "ca.key", err) &&
           absent(env, dir, NULL, "ca.crt", err) &&
           file_store(env, dir, NULL, "ca.key", &ca->key, err) &&
           file_store(env, dir, NULL, "ca.crt", &ca->cert, err);
}

bool cluster_ca_load(struct cluster_ca *ret, struct env *env, const char *dir, struct err *err)
{
    struct cluster_ca ca = {0};
    struct x509_info info = {0};
    bool ok = file_load(env, dir, NULL, "ca.key", &ca.key, err) &&
              file_load(env, dir, NULL, "ca.crt", &ca.cert, err);
    if (ok && !x509_read(buf_slice(&ca.cert), &info, err))
        ok = err_wrap(err, "%s/ca.crt", dir);
    if (ok && (!info.ca || !slice_starts(slice_of(info.uri), scheme) ||
               !identity_cluster_parse(slice_skip(slice_of(info.uri), scheme.n), &ca.cluster)))
        ok = err_set(err, ERR_INVALID, "%s/ca.crt is not the CA of a weft cluster", dir);
    if (ok)
        *ret = ca;
    else
        cluster_ca_fini(&ca);
    return ok;
}

static bool issue_at(const struct cluster_ca *ca, struct env *env, const char *name, uint64_t id,
                     int64_t days, struct slice public_key, struct buf *ret_cert, struct err *err)
{
    return cluster_ca_issue(ca,
                            &(struct cluster_ca_node){.id = id,
                                                      .name = slice_of(name),
                                                      .public_key = public_key,
                                                      .now = env_wall_ms(env) / 1000,
                                                      .days = days},
                            ret_cert, err);
}

bool cluster_ca_add(const struct cluster_ca *ca, struct env *env, const char *dir, const char *name,
                    uint64_t id, int64_t days, struct err *err)
{
    char path[PATH_BYTES];
    struct buf key = {0}, public = {0}, cert = {0};
    bool ok = path_of(path, dir, name, NULL, err) && absent(env, dir, name, "node.key", err) &&
              absent(env, dir, name, "node.crt", err) && env_dir_make(env, path, err) &&
              x509_key_new(&key, err) && x509_key_public(buf_slice(&key), &public, err) &&
              issue_at(ca, env, name, id, days, buf_slice(&public), &cert, err) &&
              file_store(env, dir, name, "node.key", &key, err) &&
              file_store(env, dir, name, "node.crt", &cert, err) &&
              file_store(env, dir, name, "ca.crt", &ca->cert, err);
    x509_wipe(&key);
    buf_fini(&public);
    buf_fini(&cert);
    return ok;
}

/* Renewal. */

struct renewal {
    const struct cluster_ca *ca;
    struct env *env;
    const char *dir;
    int64_t days;
    void (*fn)(void *ctx, const char *name);
    void *ctx;
    unsigned count;
    bool ok;
    struct err *err;
};

static bool renew_one(struct renewal *r, const char *name, struct slice old)
{
    struct x509_info info = {0};
    struct identity id = {0};
    struct buf public = {0}, cert = {0};
    bool ok =
        x509_read(old, &info, r->err) && identity_parse(slice_of(info.uri), &id, r->err) &&
        (id.cluster == r->ca->cluster ||
         err_set(r->err, ERR_INVALID, "it is of another cluster (%s)", info.uri)) &&
        x509_cert_public(old, &public, r->err) &&
        issue_at(r->ca, r->env, info.name, id.node, r->days, buf_slice(&public), &cert, r->err) &&
        file_store(r->env, r->dir, name, "node.crt", &cert, r->err);
    buf_fini(&public);
    buf_fini(&cert);
    return ok || err_wrap(r->err, "%s/%s/node.crt", r->dir, name);
}

static void on_entry(void *ctx, const char *name)
{
    struct renewal *r = ctx;
    struct buf old = {0};
    if (r->ok && file_load(r->env, r->dir, name, "node.crt", &old, NULL)) {
        r->ok = renew_one(r, name, buf_slice(&old));
        r->count++;
        if (r->ok && r->fn)
            r->fn(r->ctx, name);
    }
    buf_fini(&old);
}

bool cluster_ca_renew(const struct cluster_ca *ca, struct env *env, const char *dir, int64_t days,
                      void (*fn)(void *ctx, const char *name), void *ctx, struct err *err)
{
    struct renewal r = {.ca = ca,
                        .env = env,
                        .dir = dir,
                        .days = days,
                        .fn = fn,
                        .ctx = ctx,
                        .ok = true,
                        .err = err};
    if (!env_dir_list(env, dir, on_entry, &r, err) || !r.ok)
        return false;
    return r.count > 0 ||
           err_set(err, ERR_NOT_FOUND, "%s has no certificate of a node (DIR/NAME/node.crt)", dir);
}
