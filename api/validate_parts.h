/* Rules that several kinds share. Each is a check_fn: the problem is at the path. */
#ifndef WEFT_API_VALIDATE_PARTS_H
#define WEFT_API_VALIDATE_PARTS_H

#include "api/check.h"

#define VALIDATE_DESTINATIONS_MAX 1000 /* of one route */

/* 1..65535. */
void validate_port(struct check *c, const json_t *number);
/* {number: 1..65535}. */
void validate_port_selector(struct check *c, const json_t *port);
/* A host without wildcard, by short name or in full. */
void validate_host(struct check *c, const json_t *host);
/* A host, "*" or a wildcard on the left. */
void validate_wildcard_host(struct check *c, const json_t *host);
/* "*", ".", "~" or a namespace. */
void validate_export_to(struct check *c, const json_t *list);
/* {host, subset, port{number}}. */
void validate_destination(struct check *c, const json_t *destination);
/* Keys and values of a label map; without "*". */
void validate_labels(struct check *c, const json_t *labels);
/* HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL, REDIS, UDP, HBONE: in any case. */
void validate_protocol(struct check *c, const json_t *protocol);
bool protocol_is_tls(struct slice protocol);
bool protocol_is_http(struct slice protocol);
/* 0..100. */
void validate_percent(struct check *c, const json_t *percent);
/* {value: 0..100}. */
void validate_percentage(struct check *c, const json_t *percentage);
/* A regular expression that RE2 compiles, not empty, at most REGEX_PATTERN_BYTES_MAX. */
void validate_regex(struct check *c, const json_t *regex);
/* tcp{…}, http{…}: counts that may not be negative. */
void validate_connection_pool(struct check *c, const json_t *pool);
/* TLS of a Gateway's or Sidecar's server. */
void validate_server_tls(struct check *c, const json_t *tls);
/* address, ports, labels … of a WorkloadEntry or an endpoint of a ServiceEntry. */
void validate_workload(struct check *c, const json_t *workload);
/* "unix:///path" or "unix://@name". */
bool is_unix_address(struct slice s);
void validate_unix_address(struct check *c, struct slice address);
/* An integer may not be below zero. */
void validate_not_negative(struct check *c, const json_t *number);

#endif
