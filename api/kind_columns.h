/* Cells of kubectl's tables. Each appends its text; "<none>" where there is nothing. */
#ifndef WEFT_API_KIND_COLUMNS_H
#define WEFT_API_KIND_COLUMNS_H

#include "base/wire/json.h"

#define KIND_CELL_ITEMS_MAX 3 /* of a long list; the rest is counted: "a,b,c + 4 more..." */

void kind_cell_namespace_status(const json_t *object, struct buf *out);
void kind_cell_service_type(const json_t *object, struct buf *out);
void kind_cell_cluster_ip(const json_t *object, struct buf *out);
void kind_cell_external_ip(const json_t *object, struct buf *out);
void kind_cell_service_ports(const json_t *object, struct buf *out);
void kind_cell_service_selector(const json_t *object, struct buf *out);
void kind_cell_address_type(const json_t *object, struct buf *out);
void kind_cell_slice_ports(const json_t *object, struct buf *out);
void kind_cell_slice_endpoints(const json_t *object, struct buf *out);
void kind_cell_workload_address(const json_t *object, struct buf *out);
void kind_cell_hosts(const json_t *object, struct buf *out);
void kind_cell_gateways(const json_t *object, struct buf *out);
void kind_cell_location(const json_t *object, struct buf *out);
void kind_cell_resolution(const json_t *object, struct buf *out);
void kind_cell_host(const json_t *object, struct buf *out);
void kind_cell_subsets(const json_t *object, struct buf *out);
void kind_cell_gateway_ports(const json_t *object, struct buf *out);
void kind_cell_lease_holder(const json_t *object, struct buf *out);
void kind_cell_lease_epoch(const json_t *object, struct buf *out);
void kind_cell_lease_ttl(const json_t *object, struct buf *out);
void kind_cell_lease_on_expiry(const json_t *object, struct buf *out);
/* "12/12 @1182": message of the condition Distributed. */
void kind_cell_live(const json_t *object, struct buf *out);

#endif
