/* The named bounds of the xDS server and of convergence. */
#ifndef WEFT_PILOT_PILOT_LIMITS_H
#define WEFT_PILOT_PILOT_LIMITS_H

#define ADS_SERVER_WORKERS_MAX 64
/* Of one worker; more are refused with RESOURCE_EXHAUSTED. */
#define ADS_SERVER_SESSIONS_MAX 20000
#define ADS_SERVER_DRAIN_MS 2000
#define ADS_SERVER_STIR_MIN 64  /* streams that come or go, after which memory is given back */
#define ADS_SERVER_CALM_MS 1000 /* once none did for so long */

/* What one node tells the others about its proxies. */
#define SUMMARY_BUCKETS_MAX 64       /* distinct revisions; the lowest beyond are put together */
#define SUMMARY_REJECTIONS_MAX 128   /* distinct (type, resource, message); more are counted */
#define SUMMARY_SOURCES_MAX 16       /* objects of one rejected resource */
#define SUMMARY_TEXT_BYTES_MAX 1024  /* any text in it */
#define CONVERGENCE_PER_PROXY_MAX 32 /* rejections of one proxy */
#define CONVERGENCE_GAP_MS 2         /* between two messages of a node */
#define CONVERGENCE_REFRESH_MS 1000  /* a summary is sent so often even if nothing changed */
#define ROSTER_MAX 400000            /* proxies of a node whose names it tells: 3.2 MB */
#define CONVERGENCE_SILENT_MS 1000   /* a node not heard for less is not silent */
#define CONVERGENCE_ROSTER_GAP_MS 50 /* between two lists of names */
/* A proxy leaves a node that hangs after weft-proxy's PING of 5 + 3 s, and needs a moment more:
 * then it is elsewhere, or gone with its node. */
#define CONVERGENCE_FORGET_MS 30000
#define CONVERGENCE_REVISIONS_MAX 4096 /* whose times are kept */
#define CONVERGENCE_WAITS_MAX 4096

#endif
