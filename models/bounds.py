"""Bounds on everything that comes from a topic: what is longer, larger or later is refused.

One section per topic. Each figure says why it is that one; `docs/inputs.md` says what happens to a
message beyond its bounds. Producers are not trusted, whoever they are: a bound holds for the
messages of Weir's own parts, too.
"""

from typing import Final

# Times.

#: The last millisecond of the year 9999, the latest that calendars here can name. Stamps in
#: microseconds or nanoseconds lie beyond it.
MAX_TIME_MS: Final = 253_402_300_799_999

# Batches: any topic.

#: Most bytes that a batch may unpack to, unless `kafka.max_unpacked_bytes` says otherwise: 16 times
#: what brokers take packed (`message.max.bytes`); requests of JSON pack to a tenth or fifth.
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
#: Most headers of a record in a batch of over 1 MiB: as many as 256 KiB can hold. What fits a
#: smaller batch is not counted.
MAX_HEADERS: Final = 131_072
#: Records of a batch that cannot be read and are refused one by one; the last one of them takes
#: what follows it in the batch along. Two kilobytes can unpack to seven million of them.
MAX_BAD_RECORDS: Final = 1_000

# What names something: any topic.

#: Characters of a bid request's id that the feedback join keeps; exchanges send up to 128.
MAX_REQUEST_ID: Final = 1_024
#: Characters of a task's name; they are labels of metrics and names of columns.
MAX_TASK_NAME: Final = 64
#: Tasks of one message.
MAX_TASKS: Final = 32
#: Characters of a model's version; the registry makes some 25.
MAX_VERSION: Final = 128
#: Characters of a scenario's name: a publisher's or an application's id.
MAX_SCENARIO_NAME: Final = 256
#: Partition numbers; Kafka itself allows clusters of some millions of partitions.
MAX_PARTITION: Final = 1_000_000

# The `weir` header of decided requests.

#: The header that Weir writes has some 150 bytes besides the version.
MAX_DECISION_BYTES: Final = 1_024

# `outcomes`

#: An outcome is an id, a task and a time, written in any JSON style.
MAX_OUTCOME_BYTES: Final = 16_384

# `feedback-joins`, and the changelog of its table

#: Bytes of a request's id in UTF-8: its key there.
MAX_JOIN_KEY_BYTES: Final = 4 * MAX_REQUEST_ID
#: Outcomes that are held for one request that has not come yet; more are taken for repetitions.
MAX_HELD_PER_REQUEST: Final = 64
#: A request's time may be so far ahead of the wall clock, and one request moves the join's time on
#: by so much at most. Clocks of producers differ by seconds, those that nobody sets by minutes.
MAX_SKEW_MS: Final = 600_000
#: How often the join may halve the share that it keeps: down to one request in 1,024, which then
#: stands for that many.
MAX_HALVINGS: Final = 10
#: Partitions of the pass topic whose progress a join keeps; each costs it 60 bytes per write.
MAX_JOIN_SOURCES: Final = 4_096
#: Progress of that many partitions.
MAX_PROGRESS_BYTES: Final = 262_144

# `training-examples`

#: Characters of a feature spec's hash; it has 16.
MAX_SPEC_HASH: Final = 128
#: Columns of a feature spec that an example may have; `openrtb` has 121.
MAX_FEATURES: Final = 8_192
#: An example of that many columns with the longest id.
MAX_EXAMPLE_BYTES: Final = 262_144

# `models`

#: An announcement is a version, a URL, a hash and a few figures for people.
MAX_ANNOUNCEMENT_BYTES: Final = 65_536
#: Characters of an artifact's URL.
MAX_URL: Final = 2_048

# The artifacts that `models` announces, and every other one that is loaded.

#: A manifest has 7 KB; every task and every row of evidence adds some hundred bytes.
MAX_MANIFEST_BYTES: Final = 1 << 20
#: The largest spec that ships has 14 KB; the time that TOML takes may grow with the square.
MAX_SPEC_BYTES: Final = 256 << 10
#: The most rows that a spec may have (2^20) at width 8 in float32 are 32 MiB; and the layers.
MAX_STUDENT_BYTES: Final = 40 << 20
#: Any other file of an artifact; the card has 31 KB.
MAX_OTHER_FILE_BYTES: Final = 4 << 20
#: Files beside the manifest; the trainer writes three.
MAX_ARTIFACT_FILES: Final = 8
#: For all files of an artifact together: the largest at 2 MB/s, less than object stores give.
MAX_READ_S: Final = 30.0
#: Wall time of a candidate's trial; it takes 1 s, and a machine may be sixty times slower.
MAX_TRIAL_S: Final = 60.0
#: Processor time of a trial; it takes 0.3 s.
MAX_TRIAL_CPU_S: Final = 10
#: Memory of a trial beyond that of the libraries and of five times the student's file, which is
#: read, written anew and laid out: the tensors of 512 requests take 40 MiB. The child counts as a
#: part of the worker where memory is limited.
MAX_TRIAL_BYTES: Final = 128 << 20
#: Processor time per request of a full batch, us: 4 are usual, and ten times as much is too slow.
MAX_REQUEST_US: Final = 200.0
#: Announcements from below the registry that a worker goes back through, newest first, until one
#: can serve; that many bad ones in a row hide a good one.
MAX_ANNOUNCEMENTS: Final = 64
#: Wait before an artifact that could not be read is tried again; it doubles up to the second.
RETRY_S: Final = (0.5, 60.0)

# `control`

#: A change names each setting of a scenario once.
MAX_CONTROL_BYTES: Final = 65_536

#: Scenarios with a name. One that has no requests yet takes some 4 KB, a busy one 25 KB more with
#: the default window, and a change for all of them is worked out for each.
MAX_SCENARIOS: Final = 10_000
#: Passes that may be owed. Beyond a window's length nothing is gained; 1,000 take 100 KB per
#: busy scenario (`docs/rate-control.md` has what they buy).
MAX_SLACK: Final = 1_000.0
#: Passes per second: from one in a quarter of an hour to more than there are.
MIN_CAPACITY: Final = 0.001
MAX_CAPACITY: Final = 1e9
#: Weights, values and kappa multiply probabilities in single precision.
MAX_WEIGHT: Final = 1e9
MAX_KAPPA: Final = 1e6
#: Characters of a reward's expression, and its numbers, names and signs; each level of it is a
#: call, and each operation a pass over the requests.
MAX_REWARD_TEXT: Final = 2_000
MAX_REWARD_TOKENS: Final = 400
#: Requests of a window (56 bytes each, per scenario), and seconds (a week).
MAX_WINDOW_REQUESTS: Final = 1_000_000
MAX_WINDOW_S: Final = 604_800.0

# `consumption`

#: A report is five numbers.
MAX_CONSUMPTION_BYTES: Final = 4_096
#: Amounts of money in any currency's smallest unit.
MAX_AMOUNT: Final = 1e18

# `rate-state`

#: A state is a summary of 256 quantiles (1,368 characters) and a few numbers.
MAX_STATE_BYTES: Final = 8_192
#: Characters of a worker's name.
MAX_WORKER_NAME: Final = 256
#: Requests per second on one partition.
MAX_PER_SECOND: Final = 1e9
#: Debt of a partition in passes; where requests are worth little it grows for as long as the topic
#: lives.
MAX_DEBT: Final = 1e12
#: Quantiles of a summary.
MAX_QUANTILES: Final = 256
#: Generation of an assignment; one more per rebalance, of which there is not one a second for 30
#: years.
MAX_GENERATION: Final = 1_000_000_000
