"""What is overridden or used privately of Faust, mode and aiokafka is still there, as it was.

A failure after an upgrade names what has changed upstream. Read the new code, adapt the override,
then this table and docs/faust.md.
"""

import importlib
import inspect
import logging
import re

import pytest

from models.process import logs
from stream.kafka.rebound import rebound
from stream.transport import log_throttle
from tests.stream.transport.upstream import (
    ROOT,
    has,
    named,
    overridden,
    private_names,
    process_wide_patches,
    rebound_functions,
    signature,
)

#: Signature of every upstream method that is overridden, by class; ``attribute`` of what is none.
OVERRIDDEN: dict[str, dict[str, str]] = {
    "aiokafka.abc.AbstractTokenProvider": {
        "token": "(self)",
    },
    "aiokafka.conn.AIOKafkaConnection": {
        "authenticator_oauth": "(self)",
    },
    "aiokafka.conn.OAuthAuthenticator": {
        "step": "(self, payload)",
    },
    "aiokafka.consumer.consumer.AIOKafkaConsumer": {
        "start": "(self)",
    },
    "aiokafka.consumer.fetcher.FetchResult": {
        "getall": "(self, max_records=None)",
    },
    "aiokafka.consumer.fetcher.Fetcher": {
        "fetched_records": "(self, partitions, timeout=0, max_records=None)",
        "next_record": "(self, partitions)",
    },
    "aiokafka.consumer.fetcher.PartitionRecords": {
        "__next__": "(self)",
    },
    "aiokafka.producer.message_accumulator.BatchBuilder": {
        "_build": "(self)",
        "_set_producer_state": "(self, producer_id, producer_epoch, base_sequence)",
        "append": "(self, *, timestamp, key, value, headers=[])",
    },
    "aiokafka.producer.producer.AIOKafkaProducer": {
        "begin_transaction": "(self)",
        "send_batch": "(self, batch, topic, *, partition)",
    },
    "aiokafka.producer.sender.AddPartitionsToTxnHandler": {
        "handle_response": "(self, resp)",
    },
    "aiokafka.producer.sender.SendProduceReqHandler": {
        "create_request": "(self)",
        "handle_response": "(self, response)",
    },
    "aiokafka.producer.sender.Sender": {
        "_do_add_partitions_to_txn": "(self, tps)",
        "_do_txn_offset_commit": "(self, offsets, group_id)",
        "_fail_all": "(self, task)",
        "_send_produce_req": "(self, node_id, batches)",
    },
    "aiokafka.producer.sender.TxnOffsetCommitHandler": {
        "create_request": "(self)",
        "handle_response": "(self, resp)",
    },
    "aiokafka.protocol.api.Request": {
        "build": "(self, request_struct_class)",
    },
    "aiokafka.protocol.produce.ProduceRequest": {
        "_CLASSES": "attribute",
    },
    "faust.app.base.App": {
        "on_first_start": "(self)",
        "on_init_dependencies": "(self)",
    },
    "faust.transport.base.Transport": {
        "Conductor": "attribute",
    },
    "faust.transport.conductor.Conductor": {
        "_resubscribe_sleep_lock_seconds": "attribute",
    },
    "faust.transport.consumer.Consumer": {
        "_add_gap": "(self, tp, offset_from, offset_to)",
        "_commit_offsets": "(self, offsets, start_new_transaction=True)",
        "_filter_committable_offsets": "(self, tps)",
        "_filter_tps_with_pending_acks": "(self, topics=None)",
        "commit_and_end_transactions": "(self)",
        "getmany": "(self, timeout)",
        "on_partitions_revoked": "(self, revoked)",
        "perform_seek": "(self)",
        "seek": "(self, partition, offset)",
        "verify_all_partitions_active": "(self)",
        "wait_empty": "(self)",
    },
    "faust.transport.consumer.ConsumerThread": {
        "on_partitions_assigned": "(self, assigned, generation_id=0)",
        "on_partitions_revoked": "(self, revoked)",
    },
    "faust.transport.consumer.ThreadDelegateConsumer": {
        "_getmany": "(self, active_partitions, timeout)",
    },
    "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread": {
        "__post_init__": "(self)",
        "_commit": "(self, offsets)",
        "_create_client_consumer": "(self, transport)",
        "_create_worker_consumer": "(self, transport)",
        "_fetch_records": "(self, consumer, active_partitions, timeout=None, max_records=None)",
        "_highwaters": "(self, partitions)",
        "seek_to_committed": "(self)",
    },
    "faust.transport.drivers.aiokafka.Consumer": {
        "_new_consumer_thread": "(self)",
    },
    "faust.transport.drivers.aiokafka.Transport": {
        "Consumer": "attribute",
    },
    "faust.types.tuples.Message": {
        "ack": "(self, consumer, n=1)",
    },
    "mode.services.Service": {
        "_crash": "(self, reason)",
    },
    "mode.services.ServiceCallbacks": {
        "on_shutdown": "(self)",
        "on_start": "(self)",
        "on_stop": "(self)",
    },
    "mode.threads.QueueServiceThread": {
        "call_thread": "(self, fun, *args, **kwargs)",
    },
    "mode.threads.ServiceThread": {
        "_stop_children": "(self)",
        "_stop_exit_stacks": "(self)",
        "_stop_futures": "(self)",
        "_stopped_set": "(self)",
        "crash": "(self, exc)",
        "maybe_start": "(self)",
        "set_shutdown": "(self)",
        "start": "(self)",
        "stop": "(self)",
        "wait_for_shutdown": "attribute",
    },
    "mode.worker.Worker": {
        "_schedule_shutdown": "(self, signal)",
    },
}
#: Signature of the constructors that are called with positional or private arguments.
CONSTRUCTED: dict[str, str] = {
    "aiokafka.consumer.fetcher.PartitionRecords": (
        "(self, tp, records, aborted_transactions, fetch_offset, key_deserializer, "
        "value_deserializer, check_crcs, isolation_level)"
    ),
    "aiokafka.producer.message_accumulator.BatchBuilder": (
        "(self, batch_size, compression_type, *, is_transactional=0, key_serializer=None, "
        "value_serializer=None)"
    ),
    "aiokafka.producer.sender.SendProduceReqHandler": "(self, sender, batches)",
    "aiokafka.producer.sender.Sender": (
        "(self, client, *, acks, txn_manager, message_accumulator, retry_backoff_ms, "
        "request_timeout_ms)"
    ),
    "aiokafka.record.default_records._DefaultRecordBatchBuilderPy": (
        "(self, magic, compression_type, is_transactional, producer_id, producer_epoch, "
        "base_sequence, batch_size)"
    ),
    "faust.stores.base.Store": (
        "(self, url, app, table, *, table_name='', key_type=None, value_type=None, "
        "key_serializer=None, value_serializer=None, options=None, **kwargs)"
    ),
    "faust.transport.consumer.ConsumerThread": "(self, consumer, **kwargs)",
    "faust.transport.producer.ProducerBuffer": "(self, *, beacon=None, loop=None)",
    "faust.types.tuples.Message": (
        "(self, topic, partition, offset, timestamp, timestamp_type, headers, key, value, "
        "checksum, serialized_key_size=None, serialized_value_size=None, tp=None, "
        "time_in=None, time_out=None, time_total=None, generation_id=None)"
    ),
}

#: Global names that a copied function sees another object behind, by function.
REBOUND: dict[str, set[str]] = {
    "aiokafka.consumer.consumer.AIOKafkaConsumer.start": {"Fetcher"},
    "aiokafka.consumer.fetcher.Fetcher._proc_fetch_request": {
        "FetchResult", "MemoryRecords", "PartitionRecords",
    },
    "aiokafka.consumer.fetcher.Fetcher.fetched_records": {"FetchResult"},
    "aiokafka.consumer.fetcher.Fetcher.next_record": {"FetchResult"},
    "aiokafka.producer.sender.AddPartitionsToTxnHandler.handle_response": {"BACKOFF_OVERRIDE"},
    "aiokafka.producer.sender.SendProduceReqHandler.create_request": {"ProduceRequest"},
    "aiokafka.producer.sender.Sender._do_add_partitions_to_txn": {"AddPartitionsToTxnHandler"},
    "aiokafka.producer.sender.Sender._do_txn_offset_commit": {"TxnOffsetCommitHandler"},
    "aiokafka.producer.sender.Sender._send_produce_req": {"SendProduceReqHandler"},
}  # fmt: skip

#: Private attributes that are read or set, by class.
PRIVATE: dict[str, set[str]] = {
    "aiokafka.admin.client.AIOKafkaAdminClient": {"_send_request"},
    "aiokafka.client.AIOKafkaClient": {"_topics"},
    "aiokafka.conn.AIOKafkaConnection": {"_sasl_oauth_token_provider", "_versions"},
    "aiokafka.conn.OAuthAuthenticator": {"_token_sent"},
    "aiokafka.consumer.consumer.AIOKafkaConsumer": {
        "_auto_offset_reset", "_client", "_closed", "_coordinator", "_fetcher", "_isolation_level",
        "_subscription",
    },
    "aiokafka.consumer.fetcher.FetchResult": {
        "_partition_records", "_topic_partition", "_update_position",
    },
    "aiokafka.consumer.fetcher.Fetcher": {
        "_closed", "_create_fetch_waiter", "_fetch_task", "_max_partition_fetch_bytes",
        "_subscriptions",
    },
    "aiokafka.consumer.fetcher.PartitionRecords": {
        "_aborted_producers", "_check_crcs", "_consume_aborted_up_to", "_contains_abort_marker",
        "_isolation_level", "_records", "_records_iterator", "_tp", "next_fetch_offset",
    },
    "aiokafka.consumer.subscription_state.SubscriptionState": {"fetch_context", "subscription"},
    "aiokafka.consumer.subscription_state.TopicPartitionState": {
        "has_valid_position", "highwater", "lso", "position",
    },
    "aiokafka.producer.message_accumulator.BatchBuilder": {"_buffer", "_builder"},
    "aiokafka.producer.message_accumulator.MessageAccumulator": {
        "_batch_ttl", "_batches", "_pending_batches",
    },
    "aiokafka.producer.message_accumulator.MessageBatch": {
        "_drain_waiter", "failure", "future", "record_count",
    },
    "aiokafka.producer.producer.AIOKafkaProducer": {
        "_closed", "_message_accumulator", "_request_timeout_ms", "_sender", "_txn_manager",
    },
    "aiokafka.producer.sender.SendProduceReqHandler": {"_batches", "_sender"},
    "aiokafka.producer.sender.Sender": {
        "_acks", "_coordinator_dead", "_find_coordinator", "_message_accumulator",
        "_retry_backoff", "_txn_manager",
    },
    "aiokafka.producer.sender.TxnOffsetCommitHandler": {"_group_id", "_offsets", "_sender"},
    "aiokafka.producer.transaction_manager.TransactionManager": {
        "_transaction_waiter", "increment_sequence_number", "transactional_id",
    },
    "aiokafka.protocol.produce.ProduceRequest": {"_CLASSES"},
    "faust.transport.consumer.Consumer": {
        "_buffered_partitions", "_get_active_partitions", "_read_offset", "_wait_next_records",
    },
    "faust.transport.consumer.ThreadDelegateConsumer": {"_thread"},
    "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread": {"_consumer", "_ensure_consumer"},
    "mode.services.Service": {
        "_stop_children", "_stop_exit_stacks", "_stop_futures", "_stopped_set",
    },
}  # fmt: skip

#: Messages that `models.process.logs` recognises by their text, by the module that logs them.
MESSAGES: dict[str, list[str]] = {
    "aiokafka.client": ['Unable connect to "%s:%s": %s'],
    "aiokafka.conn": ["Sending username and password in the clear"],
    "aiokafka.producer.sender": ["Unexpected error during InitProducerIdRequest: %s"],
    "mode.services": ["Starting...", "Stopping..."],
}


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [(owner, name, text) for owner, of in OVERRIDDEN.items() for name, text in of.items()],
)
def test_an_overridden_method_has_the_signature_it_had(
    owner: str, name: str, expected: str
) -> None:
    """An override is called with the arguments that upstream passes."""
    assert name in vars(named(owner)), f"{owner} does not define {name} any more"
    assert signature(vars(named(owner))[name]) == expected


@pytest.mark.parametrize(("owner", "expected"), CONSTRUCTED.items())
def test_a_constructor_has_the_signature_it_had(owner: str, expected: str) -> None:
    """What is passed to it means the same."""
    assert signature(named(owner).__init__) == expected


@pytest.mark.parametrize(("function", "names"), REBOUND.items())
def test_a_copied_function_uses_the_names_that_are_replaced(function: str, names: set[str]) -> None:
    """And nothing else is found by name instead: the copy would not see a replacement."""
    rebound(named(function), **dict.fromkeys(names))
    with pytest.raises(LookupError, match="uses no global Fetchr"):
        rebound(named(function), Fetchr=None)


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in sorted(names)]
)
def test_a_private_attribute_is_still_there(owner: str, name: str) -> None:
    """Of the class itself, or assigned in one of its methods."""
    assert has(named(owner), name)


def test_the_tables_are_complete() -> None:
    """They have all that an inspection of the code finds, and nothing that is not used any more."""
    assert {owner: set(names) for owner, names in OVERRIDDEN.items()} == overridden()
    assert rebound_functions() == REBOUND
    listed = set().union(*PRIVATE.values())
    assert private_names() - {"_exit", "_replace"} <= listed  # os._exit, NamedTuple._replace


def test_no_class_or_module_of_upstream_is_changed() -> None:
    """Patches are per instance: every other client in the process stays as it is."""
    assert process_wide_patches() == []


@pytest.mark.parametrize(("module", "texts"), MESSAGES.items())
def test_messages_that_are_recognised_in_the_log_are_still_logged(
    module: str, texts: list[str]
) -> None:
    """And `models.process.logs` recognises no others."""
    source = inspect.getsource(importlib.import_module(module))
    assert all(text in source for text in texts)


def test_every_message_that_is_recognised_is_in_the_table() -> None:
    """The names of login messages, too: what they hold is masked."""
    constants = {logs._UNENCRYPTED_LOGIN, logs._BOOTSTRAP_FAILED, logs._NO_PRODUCER_ID}
    assert constants <= {text for texts in MESSAGES.values() for text in texts}
    assert all(logs._LIFECYCLE.match(f"[^-App]: {text}") for text in MESSAGES["mode.services"])
    admin = importlib.import_module("aiokafka.protocol.admin")
    logins = [name for name in vars(admin) if "SaslAuthenticate" in name and "Struct" not in name]
    assert len(logins) >= 3
    assert all(map(logs._AUTHENTICATION.match, logins))


def test_the_throttled_loggers_are_those_of_aiokafkas_modules() -> None:
    """A logger of another name would not be throttled."""
    for name in log_throttle._LOGGERS:
        logger = importlib.import_module(f"aiokafka.{name}").log
        assert isinstance(logger, logging.Logger)
        assert logger.name in ("aiokafka", f"aiokafka.{name}")


def _documented(heading: str) -> dict[str, set[str]]:
    """The first two columns of the tables below a heading of docs/faust.md."""
    text = (ROOT / "docs" / "faust.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", text, re.MULTILINE)
    return {owner: set(re.findall(r"`([^`]+)`", names)) for owner, names in rows}


def test_the_documentation_lists_the_same() -> None:
    """docs/faust.md has a row for every class, with these names and the reason."""
    assert _documented("Overridden") == {owner: set(names) for owner, names in OVERRIDDEN.items()}
    assert _documented("Copied with other helpers") == REBOUND
    assert _documented("Private names") == PRIVATE
