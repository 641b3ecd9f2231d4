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

# `control`

#: A change names each setting of a scenario once.
MAX_CONTROL_BYTES: Final = 65_536

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
#: Requests per second, and passes that are due.
MAX_STATE_NUMBER: Final = 1e9
#: Quantiles of a summary.
MAX_QUANTILES: Final = 256
#: Number of a tenure; one more per rebalance.
MAX_TENURE: Final = 2**53
