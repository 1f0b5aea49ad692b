"""Bookinfo's services as registry objects, and their instances as processes, on a cluster's subnet.

Instances answer on port 9080 of a workload address of their own. With sidecars, the proxy has that
address and the application a port of 127.0.0.1 behind it."""

from .cluster import App, Proxy

# name: service, version, last number of the address
INSTANCES = {
    "productpage-v1": ("productpage", "v1", 110),
    "details-v1": ("details", "v1", 120),
    "details-v2": ("details", "v2", 122),
    "reviews-v1": ("reviews", "v1", 131),
    "reviews-v2": ("reviews", "v2", 132),
    "reviews-v3": ("reviews", "v3", 133),
    "ratings-v1": ("ratings", "v1", 141),
    "ratings-v2": ("ratings", "v2", 142),
    "ratings-v2-mysql": ("ratings", "v2-mysql", 143),
    "ratings-v2-mysql-vm": ("ratings", "v2-mysql-vm", 144),
}
PORT = 9080


def service(name, namespace="default", port=PORT, port_name="http", target=None):
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"selector": {"app": name},
                     "ports": [{"name": port_name, "port": port, "targetPort": target or port}]}}


def slice_of(name, addresses, namespace="default", port=PORT, port_name="http"):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "namespace": namespace,
                         "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]}


def workload(name, address, labels, namespace="default"):
    return {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"address": address, "labels": labels}}


def destination_rule(host, versions, namespace="default", traffic_policy=None):
    spec = {"host": host, "subsets": [{"name": v, "labels": {"version": v}} for v in versions]}
    if traffic_policy:
        spec["trafficPolicy"] = traffic_policy
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": host, "namespace": namespace}, "spec": spec}


def virtual_service(host, http, namespace="default"):
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": host, "namespace": namespace},
            "spec": {"hosts": [host], "http": http}}


def weighted(host, weights):
    """[(subset, weight), …] as the http part of a VirtualService."""
    return [{"route": [{"destination": {"host": host, "subset": s}, "weight": w}
                       for s, w in weights]}]


class Bookinfo:
    """The registry's objects; start() also runs the instances."""

    def __init__(self, cluster, only=None):
        self.cluster = cluster
        self.instances = {n: i for n, i in INSTANCES.items() if only is None or n in only}
        self.apps = {}

    def address(self, name):
        return self.cluster.host(self.instances[name][2])

    def objects(self):
        services = sorted({s for s, _, _ in self.instances.values()})
        out = [service(s) for s in services]
        for s in services:
            out.append(slice_of(s, [self.cluster.host(last) for svc, _, last in
                                    self.instances.values() if svc == s]))
        for name, (svc, version, last) in self.instances.items():
            out.append(workload(name, self.cluster.host(last), {"app": svc, "version": version}))
        return out

    def register(self):
        return self.cluster.batch(self.objects())

    def start(self):
        for name, (svc, version, last) in self.instances.items():
            self.apps[name] = App(self.cluster, svc, version, f"{self.cluster.host(last)}:{PORT}")
        for app in self.apps.values():
            app.wait_ready()
        return self


def client_proxy(cluster, last, name="client", **kw):
    """A sidecar that is nobody's server: requests enter at port 15001 of its address."""
    return Proxy(cluster, name, cluster.host(last), **kw)
