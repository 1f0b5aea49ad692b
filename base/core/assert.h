/* Bugs: assertions that are always on. Never on input from outside.
 *
 *   wf_assert(sub->sent_rev >= sub->acked_rev);
 */
#ifndef WEFT_BASE_CORE_ASSERT_H
#define WEFT_BASE_CORE_ASSERT_H

#include <assert.h> /* static_assert */

_Noreturn void wf_assert_failed(const char *expr, const char *file, int line, const char *func);
/* Ends the process (SIGABRT) after a message: the fail-stop of a condition that must not be
 * survived (a failed disk write in the registry). No bug of ours, so no trace: the message is for
 * who runs the machine. */
_Noreturn void wf_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define wf_assert(expr) ((expr) ? (void)0 : wf_assert_failed(#expr, __FILE__, __LINE__, __func__))
#define wf_unreachable(why) wf_assert_failed(why, __FILE__, __LINE__, __func__)

#endif
