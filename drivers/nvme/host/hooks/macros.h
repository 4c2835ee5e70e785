/* Annotations of newer kernels that spatch 1.1.1 does not parse.  Only spatch
 * reads this (--macro-file), never the compiler.
 */
#define __rcu_guarded
#define __must_hold_shared(...)
#define __acquires_shared(...)
#define __releases_shared(...)
#define __cond_acquires(...)
#define __cond_releases(...)
#define __context_unsafe(...)
#define scoped_guard(...)      YACFE_ITERATOR
#define scoped_cond_guard(...) YACFE_ITERATOR
