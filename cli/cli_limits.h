/* The named bounds of cli/. */
#ifndef WEFT_CLI_CLI_LIMITS_H
#define WEFT_CLI_CLI_LIMITS_H

#define CLI_ARGS_MAX 4096             /* words of one call */
#define CLI_FILES_MAX 4096            /* files of one -f, directories expanded */
#define CLI_DIR_DEPTH_MAX 32          /* of -R */
#define CLI_OBJECTS_MAX 32768         /* of one call */
#define CLI_FILE_BYTES_MAX (4u << 20) /* YAML_BYTES_MAX */
#define CLI_ADDRS_MAX 16              /* HTTP_CLIENT_ADDRS_MAX */
#define CLI_COLUMNS_MAX 32            /* of a table */
#define CLI_ANSWER_BYTES_MAX (64u << 20)
#define CLI_LINE_BYTES_MAX (16u << 20) /* one event of a watch */
#define CLI_WATCH_RETRIES_MAX 5        /* in a row, without an event in between */
#define CLI_DIFF_EDITS_MAX 1000        /* 8 MiB of search; beyond it a diff shows all as replaced */

#define CLI_CHANGE_OBJECTS_MAX 1024 /* of one revision: REG_REQUEST_OPS_MAX of the server */
/* Of one request of a deletion: under 500 bytes each with the longest names, so a third of
 * JSON_BYTES_MAX. */
#define CLI_DELETE_PART_OBJECTS_MAX 1000

#define CLI_WATCH_STALL_MS 90000 /* three bookmarks of the server are missing: another node */
#define CLI_DOWNLOAD_STALL_MS 30000
#define CLI_SNAPSHOT_TIMEOUT_MS 600000 /* the node copies its store before it answers */
#define CLI_TIMEOUT_MS 10000           /* of one request */
#define CLI_WAIT_TIMEOUT_MS 30000      /* of weft wait and --wait */
#define CLI_WAIT_GRACE_MS 2000         /* for the answer behind the server's own time-out */
/* A namespace of CLI_OBJECTS_MAX goes in 32 revisions, for each of which the server waits 5 s at
 * most; who hangs up before the answer ends the deletion. */
#define CLI_NAMESPACE_TIMEOUT_MS 180000

#endif
