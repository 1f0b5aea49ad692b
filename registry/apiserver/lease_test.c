/* If these fail, users cannot take, keep or fence a lease, or are told nothing of use when another
 * has it. */
#include <poll.h>

#include "registry/apiserver/api_testing.h"

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/default/leases"
#define LEASE(name, holder, seconds)                                                               \
    "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"" name \
    "\"},\"spec\":{\"holderIdentity\":\"" holder "\",\"leaseDurationSeconds\":" seconds "}}"
#define MACHINE                                                                                    \
    "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"vm\"," \
    "\"annotations\":{\"weft.dev/on-expiry\":\"delete\"}},\"spec\":{\"holderIdentity\":\"vm\","    \
    "\"leaseDurationSeconds\":1}}"
#define WE "/apis/networking.istio.io/v1/namespaces/default/workloadentries"
#define ENTRY(name, lease)                                                                         \
    "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"WorkloadEntry\",\"metadata\":{"         \
    "\"name\":\"" name "\",\"annotations\":{\"weft.dev/lease\":\"" lease                           \
    "\"}},\"spec\":{\"address\":\"10.0.0.1\"}}"
#define RENEW "/weft/v1/leases/renew"
#define SIGN(name, epoch) "{\"leases\":[{\"name\":\"" name "\",\"epoch\":" epoch "}]}"

static void test_one_holder(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", LEASES, JSON, LEASE("a", "x", "60"), "\"leaseTransitions\":1");
    expect(f, 409, "PUT", LEASES "/a", JSON, LEASE("a", "y", "60"), "x holds it, at epoch 1");
    expect(f, 200, "PUT", LEASES "/a", JSON, LEASE("a", "x", "30"), "\"leaseTransitions\":1");
    expect(f, 200, "PUT", LEASES "/a", JSON, LEASE("a", "", "30"), "\"leaseTransitions\":1");
    expect(f, 200, "PUT", LEASES "/a", JSON, LEASE("a", "y", "30"), "\"leaseTransitions\":2");
    expect(f, 200, "DELETE", LEASES "/a", "", "", NULL);
    expect(f, 201, "POST", LEASES, JSON, LEASE("a", "x", "60"), "\"leaseTransitions\":3");
    expect(f, 422, "PUT", LEASES "/a", JSON, LEASE("a", "x", "0"), "spec.leaseDurationSeconds");
}

static void test_signs_of_life(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", LEASES, JSON, LEASE("a", "x", "60"), NULL);
    expect(f, 200, "POST", RENEW, JSON, SIGN("a", "1"), "\"held\":true");
    expect(f, 200, "POST", RENEW, JSON, SIGN("a", "2"), "\"held\":false");
    expect(f, 200, "POST", RENEW, JSON, SIGN("b", "1"), "\"held\":false");
    expect(f, 400, "POST", RENEW, JSON, SIGN("b", "0"), "leases[0].epoch");
    expect(f, 400, "POST", RENEW, JSON, "{}", "must be a list");
    expect(f, 400, "POST", RENEW, JSON, "{", NULL);
    expect(f, 200, "POST", "/weft/v1/leases/approve", JSON, "", "\"approved\":0");
}

static void test_fences(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", LEASES, JSON, LEASE("a", "x", "60"), NULL);
    expect_with(f, "weft-fence", "a=1", 201, "POST", VS, VS_BODY("one", "1"), NULL);
    expect_with(f, "weft-fence", "default/a=2", 409, "POST", VS, VS_BODY("two", "1"),
                "not held at this epoch");
    expect_with(f, "weft-fence", "a", 400, "POST", VS, VS_BODY("two", "1"), "weft-fence");
    expect(f, 200, "PUT", LEASES "/a", JSON, LEASE("a", "", "60"), NULL);
    expect_with(f, "weft-fence", "a=1", 409, "DELETE", VS "/one", "", "not held at this epoch");
    expect(f, 404, "GET", VS "/two", "", "", NULL);
    expect(f, 200, "GET", VS "/one", "", "", NULL);
}

static void test_what_lives_on_a_lease(void **state)
{
    struct fixture *f = *state;
    expect(f, 404, "POST", WE, JSON, ENTRY("e", "vm"), "nobody holds the lease default/vm");
    expect(f, 201, "POST", LEASES, JSON, MACHINE, NULL);
    expect(f, 201, "POST", WE, JSON, ENTRY("e", "vm"), NULL);
    expect(f, 400, "POST", WE, JSON, ENTRY("e2", "v m"), "weft.dev/lease");
    for (int i = 0; call(f, "GET", WE "/e", "", "") != 404; i++) {
        assert_true(i < 500);
        poll(NULL, 0, 20);
    }
    expect(f, 404, "GET", LEASES "/vm", "", "", NULL);
    expect(f, 201, "POST", LEASES, JSON, MACHINE, "\"leaseTransitions\":2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_holder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signs_of_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fences, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_lives_on_a_lease, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
