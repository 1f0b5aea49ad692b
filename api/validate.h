/* The rules of each kind beyond its schema: what Istio's validation and the CRDs' CEL rules refuse,
 * and what they warn of. Each takes the whole object, at the empty path. */
#ifndef WEFT_API_VALIDATE_H
#define WEFT_API_VALIDATE_H

#include "api/check.h"

void validate_meta(struct check *c, const json_t *object);
void validate_service(struct check *c, const json_t *object);
void validate_endpoint_slice(struct check *c, const json_t *object);
void validate_workload_entry(struct check *c, const json_t *object);
void validate_service_entry(struct check *c, const json_t *object);
void validate_virtual_service(struct check *c, const json_t *object);
void validate_destination_rule(struct check *c, const json_t *object);
void validate_gateway(struct check *c, const json_t *object);
void validate_sidecar(struct check *c, const json_t *object);

#endif
