"""Limits on everything that is read from a topic: what exceeds them is refused.

One section per topic. Each figure has its reason; `docs/inputs.md` says what happens to a message
over its limits. No producer is trusted: the limits apply to the messages of Weir's own processes,
too.
"""

from typing import Final

# Times.

#: The last millisecond of the year 9999, the latest that Python's calendar supports. Timestamps in
#: microseconds or nanoseconds are over it.
MAX_TIME_MS: Final = 253_402_300_799_999

# Batches: any topic.

#: Maximum decompressed size of a batch, unless `kafka.max_unpacked_bytes` is set: 16 times what
#: brokers accept compressed (`message.max.bytes`); JSON requests compress to a tenth or fifth.
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
#: Maximum headers of a record in a batch over 1 MiB: as many as fit into 256 KiB. In a smaller
#: batch they are not counted.
MAX_HEADERS: Final = 131_072
#: Number of unreadable records of a batch that are refused one by one; with the last of them the
#: rest of the batch is refused. Two kilobytes can decompress to seven million records.
MAX_BAD_RECORDS: Final = 1_000

# Traces of a worker, as `weir trace` reads them.

#: Bytes of a line; a worker writes some 100 KB to a line.
MAX_TRACE_LINE_BYTES: Final = 16 * 1024 * 1024

# Names: any topic.

#: Characters of a passed bid request's id in training examples; exchanges send up to 128.
MAX_REQUEST_ID: Final = 1_024
#: Characters of a task's name, which is a label of metrics and part of column names.
MAX_TASK_NAME: Final = 64
#: Tasks per message.
MAX_TASKS: Final = 32
#: Characters of a model's version; the registry's own have some 25.
MAX_VERSION: Final = 128
#: Characters of a scenario's name, such as the id of a publisher or an application.
MAX_SCENARIO_NAME: Final = 256
#: Partition number; Kafka supports clusters with some millions of partitions.
MAX_PARTITION: Final = 1_000_000

# The `weir` header of decided requests.

#: Bytes of the header; Weir's own have some 150 and the version.
MAX_DECISION_BYTES: Final = 1_024

# `outcomes`

#: Bytes of an outcome: an id, a task and a time, in any JSON style.
MAX_OUTCOME_BYTES: Final = 16_384

# `training-examples`

#: Smallest share of the passed requests that become examples, each with the inverse as its weight;
#: a training of a million rows then stands for ten billion requests.
MIN_KEEP_SHARE: Final = 0.0001
#: How far a request's time may be ahead of the wall clock, and how far one request may advance the
#: trainer's time. Clocks of producers differ by seconds; unsynchronised ones by minutes.
MAX_SKEW_MS: Final = 600_000
#: Characters of a feature spec's hash; it has 32.
MAX_SPEC_HASH: Final = 128
#: Columns of an example's feature spec; `openrtb` has 121.
MAX_FEATURES: Final = 8_192
#: Bytes of an example with that many columns and the longest id.
MAX_EXAMPLE_BYTES: Final = 262_144

# `models`

#: Bytes of an announcement: a version, a URL, a hash and a few figures for people.
MAX_ANNOUNCEMENT_BYTES: Final = 65_536
#: Characters of an artifact's URL.
MAX_URL: Final = 2_048
#: Characters of who announced a version: a user and a host, which has 253 at most.
MAX_ANNOUNCER: Final = 320
#: Characters of the cause of an announcement, a name such as `automatic-rollback`.
MAX_CAUSE: Final = 64
#: Characters of its reason, a few sentences or the figures of an automatic rollback.
MAX_REASON: Final = 4_096
#: Announcements that the history shows, the newest ones: hourly ones of a year.
MAX_HISTORY: Final = 10_000

# Artifacts: those that are announced on `models`, and all others that are loaded.

#: Bytes of a manifest, usually 7 KB; every task and every row of evidence adds some hundred.
MAX_MANIFEST_BYTES: Final = 1 << 20
#: Bytes of a spec; the largest that ships has 14 KB. Parsing TOML may take quadratic time.
MAX_SPEC_BYTES: Final = 256 << 10
#: Bytes of a student: the maximum rows of a spec (2^20) at width 8 in float32 (32 MiB), and layers.
MAX_STUDENT_BYTES: Final = 40 << 20
#: Bytes of any other file of an artifact; the card has 31 KB.
MAX_OTHER_FILE_BYTES: Final = 4 << 20
#: Bytes of a canary batch: 64 requests of the shipped spec have some 60 KB.
MAX_CANARY_BYTES: Final = 1 << 20
#: Requests of a canary batch, and their feature ids together.
MAX_CANARY_ROWS: Final = 512
MAX_CANARY_IDS: Final = 65_536
#: Files besides the manifest; the trainer writes four.
MAX_ARTIFACT_FILES: Final = 8
#: Seconds to read all files of an artifact: the largest one at 2 MB/s, slow for an object store.
MAX_READ_S: Final = 30.0
#: Wall time of a candidate's trial; it takes 1 s, and a machine may be sixty times slower.
MAX_TRIAL_S: Final = 60.0
#: CPU time of a trial; it takes 0.3 s.
MAX_TRIAL_CPU_S: Final = 10
#: Memory of a trial in addition to the libraries and to five times the student's file, which is
#: read, rewritten and loaded: the tensors of 512 requests take 40 MiB. The child counts towards the
#: worker's memory limit.
MAX_TRIAL_BYTES: Final = 128 << 20
#: CPU time per request of a full batch, us: 4 is usual, and ten times as much is too slow.
MAX_REQUEST_US: Final = 200.0
#: Announcements below the registry that a starting worker tries, newest first, until one can serve;
#: that many unusable ones in a row hide a usable one.
MAX_ANNOUNCEMENTS: Final = 64
#: Seconds until an artifact that could not be read is tried again: at first, and after doublings.
RETRY_S: Final = (0.5, 60.0)

# `control`

#: Bytes of a change, which has each setting of a scenario once.
MAX_CONTROL_BYTES: Final = 65_536

#: Named scenarios. One without requests takes some 4 KB, a busy one 25 KB more with the default
#: window, and a change for all scenarios is applied to each of them.
MAX_SCENARIOS: Final = 10_000
#: Slack in passes. More than the length of a window gains nothing; 1,000 take 100 KB per busy
#: scenario (`docs/rate-control.md` says what they gain).
MAX_SLACK: Final = 1_000.0
#: Capacity in passes per second: from one in a quarter of an hour to more than any stream has.
MIN_CAPACITY: Final = 0.001
MAX_CAPACITY: Final = 1e9
#: Weights, values and kappa multiply probabilities in single precision.
MAX_WEIGHT: Final = 1e9
MAX_KAPPA: Final = 1e6
#: Characters of a reward's expression, and its tokens (numbers, names and operators); each nesting
#: level is a function call, and each operator a pass over the requests.
MAX_REWARD_TEXT: Final = 2_000
MAX_REWARD_TOKENS: Final = 400
#: Requests of a window (56 bytes each, per scenario), and seconds (a week).
MAX_WINDOW_REQUESTS: Final = 1_000_000
MAX_WINDOW_S: Final = 604_800.0

# `consumption`

#: Bytes of a report: five numbers.
MAX_CONSUMPTION_BYTES: Final = 4_096
#: An amount of money, in the smallest unit of any currency.
MAX_AMOUNT: Final = 1e18

# `rate-state`, `rate-summaries`

#: Bytes of a state or a summary: 256 quantiles (1,368 characters), twice, and a few numbers.
MAX_STATE_BYTES: Final = 8_192
#: Characters of a worker's name.
MAX_WORKER_NAME: Final = 256
#: Requests per second of a worker, or of a fleet.
MAX_PER_SECOND: Final = 1e9
#: Passes that are owed, of a worker since it started or of a fleet: a worker whose requests are
#: worth little gives fewer than it owes for as long as it runs.
MAX_DEBT: Final = 1e12
#: Quantiles of a summary, or rewards of a state.
MAX_QUANTILES: Final = 256
#: Workers of a fleet: one per partition at most.
MAX_WORKERS: Final = MAX_PARTITION
#: Offset of a record, and number of a summary.
MAX_OFFSET: Final = 2**63 - 1
#: Versions that decide at the same time; there are a serving one, a canary, and what they replace.
MAX_VERSIONS_AT_ONCE: Final = 32

# `decision-journal`

#: Bytes of a piece of a journal in one record: well below what brokers accept (1 MB), compressed
#: or not.
MAX_JOURNAL_PART_BYTES: Final = 512 << 10
#: Bytes of a record: such a piece and a few numbers.
MAX_JOURNAL_RECORD_BYTES: Final = MAX_JOURNAL_PART_BYTES + 64
#: Bytes of a list of entries; the settings of 10,000 scenarios take some 10 MB.
MAX_JOURNAL_LIST_BYTES: Final = 64 << 20
#: Workers whose journals are read; a fleet of a hundred that restarts daily has as many in a month.
MAX_JOURNALS: Final = 10_000
