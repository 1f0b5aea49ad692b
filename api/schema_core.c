#include "api/schema_table.h"

/* core/v1, discovery.k8s.io/v1 and coordination.k8s.io/v1. */

/* Namespace. */

OBJECT(namespace_spec, FIELD("finalizers", &schema_strings, NULL));
ENUM(namespace_phase, "Active", "Terminating");
OPEN_OBJECT(namespace_status,
            FIELD("phase", &namespace_phase, "Active, or Terminating while it is deleted."),
            FIELD("conditions", &schema_conditions, NULL));
SHARED_OBJECT(schema_namespace, TOP_FIELDS, FIELD("spec", &namespace_spec, NULL),
              FIELD("status", &namespace_status, NULL));

/* Service. */

ENUM(protocol, "TCP", "UDP", "SCTP");
RANGE(port_number, 1, 65535);
RANGE(node_port, 0, 65535);
OBJECT(service_port, FIELD("name", &schema_string, "Needed when there is more than one port."),
       FIELD("protocol", &protocol, "TCP when absent."),
       FIELD("appProtocol", &schema_string,
             "Application protocol: http, grpc, tcp, kubernetes.io/h2c …"),
       REQUIRED("port", &port_number, "Port of the service."),
       FIELD("targetPort", &schema_int_or_string,
             "Port of the workload, by number or name; port when absent."),
       FIELD("nodePort", &node_port, NULL));
static const struct schema service_ports = {
    .type = SCHEMA_LIST, .items = &service_port, .length_max = 1000, .list_key = "port"};
ENUM(service_type, "ClusterIP", "NodePort", "LoadBalancer", "ExternalName");
ENUM(affinity, "None", "ClientIP");
ENUM(traffic_policy, "Cluster", "Local");
ENUM(ip_family, "IPv4", "IPv6");
LIST_BOUNDED(ip_families, &ip_family, 0, 2);
ENUM(ip_family_policy, "SingleStack", "PreferDualStack", "RequireDualStack");
RANGE(affinity_seconds, 1, 86400);
OBJECT(client_ip, FIELD("timeoutSeconds", &affinity_seconds, "10800 when absent."));
OBJECT(affinity_config, FIELD("clientIP", &client_ip, NULL));
OBJECT(service_spec, FIELD("ports", &service_ports, "Ports of the service."),
       FIELD("selector", &schema_string_map, "Labels of the workloads behind the service."),
       FIELD("type", &service_type, "ClusterIP when absent."),
       FIELD("clusterIP", &schema_string, "Virtual address; \"None\" for a headless service."),
       FIELD("clusterIPs", &schema_strings, NULL), FIELD("externalIPs", &schema_strings, NULL),
       FIELD("externalName", &schema_string, "DNS name that an ExternalName service stands for."),
       FIELD("sessionAffinity", &affinity, "None when absent."),
       FIELD("sessionAffinityConfig", &affinity_config, NULL),
       FIELD("externalTrafficPolicy", &traffic_policy, NULL),
       FIELD("internalTrafficPolicy", &traffic_policy, NULL),
       FIELD("healthCheckNodePort", &node_port, NULL),
       FIELD("publishNotReadyAddresses", &schema_bool, "Send to endpoints that are not ready too."),
       FIELD("ipFamilies", &ip_families, NULL), FIELD("ipFamilyPolicy", &ip_family_policy, NULL),
       FIELD("allocateLoadBalancerNodePorts", &schema_bool, NULL),
       FIELD("loadBalancerClass", &schema_string, NULL),
       FIELD("loadBalancerIP", &schema_string, NULL),
       FIELD("loadBalancerSourceRanges", &schema_strings, NULL),
       FIELD("trafficDistribution", &schema_string, "PreferClose: near endpoints first."));
OPEN_OBJECT(ingress_port, FIELD("port", &port_number, NULL), FIELD("protocol", &protocol, NULL),
            FIELD("error", &schema_string, NULL));
LIST(ingress_ports, &ingress_port);
OPEN_OBJECT(lb_ingress, FIELD("ip", &schema_string, NULL), FIELD("hostname", &schema_string, NULL),
            FIELD("ipMode", &schema_string, NULL), FIELD("ports", &ingress_ports, NULL));
LIST(lb_ingresses, &lb_ingress);
OPEN_OBJECT(lb_status, FIELD("ingress", &lb_ingresses, NULL));
OPEN_OBJECT(service_status, FIELD("loadBalancer", &lb_status, NULL),
            FIELD("conditions", &schema_conditions, NULL));
SHARED_OBJECT(schema_service, TOP_FIELDS, FIELD("spec", &service_spec, NULL),
              FIELD("status", &service_status, NULL));

/* EndpointSlice. */

LIST_BOUNDED(addresses, &schema_string, 1, 100);
OBJECT(endpoint_conditions, FIELD("ready", &schema_bool, "Takes traffic; yes when absent."),
       FIELD("serving", &schema_bool, "Answers, even while it ends."),
       FIELD("terminating", &schema_bool, "Is ending."));
OBJECT(object_reference, FIELD("apiVersion", &schema_string, NULL),
       FIELD("kind", &schema_string, NULL), FIELD("namespace", &schema_string, NULL),
       FIELD("name", &schema_string, NULL), FIELD("uid", &schema_string, NULL),
       FIELD("resourceVersion", &schema_string, NULL), FIELD("fieldPath", &schema_string, NULL));
OBJECT(name_hint, REQUIRED("name", &schema_string, NULL));
LIST_BOUNDED(name_hints, &name_hint, 0, 8);
OBJECT(endpoint_hints, FIELD("forZones", &name_hints, NULL), FIELD("forNodes", &name_hints, NULL));
OBJECT(endpoint, REQUIRED("addresses", &addresses, "Addresses of one workload; the first is used."),
       FIELD("conditions", &endpoint_conditions, NULL), FIELD("hostname", &schema_string, NULL),
       FIELD("targetRef", &object_reference, "The workload behind the addresses."),
       FIELD("nodeName", &schema_string, NULL), FIELD("zone", &schema_string, NULL),
       FIELD("hints", &endpoint_hints, NULL),
       FIELD("deprecatedTopology", &schema_string_map, NULL));
LIST_BOUNDED(endpoints, &endpoint, 0, 1000);
OBJECT(slice_port, FIELD("name", &schema_string, "Name of the service's port."),
       FIELD("protocol", &protocol, "TCP when absent."),
       FIELD("port", &node_port, "Port of the workload."),
       FIELD("appProtocol", &schema_string, NULL));
LIST_BOUNDED(slice_ports, &slice_port, 0, 100);
ENUM(address_type, "IPv4", "IPv6", "FQDN");
SHARED_OBJECT(schema_endpoint_slice, TOP_FIELDS,
              REQUIRED("addressType", &address_type, "What the addresses are."),
              FIELD("endpoints", &endpoints, "Workloads of the service."),
              FIELD("ports", &slice_ports, "Ports of all the endpoints."));

/* Lease. */

static const struct schema lease_holder = {.type = SCHEMA_STRING, .length_max = 256};
RANGE(lease_seconds, 1, 604800);
OBJECT(lease_spec, FIELD("holderIdentity", &lease_holder, "Who holds the lease; absent: nobody."),
       FIELD("leaseDurationSeconds", &lease_seconds,
             "How long a sign of life is good for; absent: the lease does not expire."),
       FIELD("acquireTime", &schema_date_time, "As the holder gives it."),
       FIELD("renewTime", &schema_date_time,
             "As the holder gives it; signs of life by other ways are not written."),
       FIELD("leaseTransitions", &schema_int32,
             "The epoch: rises with every acquisition. Set by the server."),
       FIELD("strategy", &schema_string, NULL), FIELD("preferredHolder", &schema_string, NULL));
SHARED_OBJECT(schema_lease, TOP_FIELDS, FIELD("spec", &lease_spec, NULL));
